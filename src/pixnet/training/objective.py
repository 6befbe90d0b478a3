"""The loss of a batch, for every kind of head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixnet.errors import ModelError
from pixnet.expression import SCALE
from pixnet.network.heads import Head
from pixnet.network.losses import (
    expected_log,
    gene_means,
    negative_binomial_loss,
    pearson_loss,
    poisson_loss,
    squared_loss,
)
from pixnet.training.batches import Batch
from pixnet.training.config import TrainingConfig


class Objective(nn.Module):
    """First term, with its weight, plus lambda times the correlation term (arXiv 2503.01347).

    The head `rate` predicts counts. Its log-normalised values are what is expected to be measured: the expectation of
    the logarithm over Poisson counts of the predicted shares, at the region's measured total. So shares are learned
    without bias, however few counts a region has. Shares hold no information on a region's total, so a third term
    compares the predicted total with the measured one, up to the sample's capture efficiency. This term teaches the
    field's density where cells are. Each sample has a capture factor k of its own.
    """

    def __init__(self, config: TrainingConfig, samples: int, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.log_capture = nn.Parameter(torch.zeros(samples))
        self.log_dispersion = nn.Parameter(torch.full((outputs,), 2.0))

    def forward(self, predicted: Tensor, batch: Batch, head: Head) -> Tensor:
        """Return the loss, a scalar, for the head's output for the batch's regions, shape (N, M).

        ModelError is raised if the loss needs counts and the head does not predict them.
        """
        config = self.config
        genes = batch.measured[:, : batch.values.shape[1]]
        values, observed = log_normalised(predicted, head, batch.measured, batch.total), batch.values
        if config.within_samples:
            of_sample = F.one_hot(batch.sample, len(self.log_capture)).to(predicted.dtype)
            values, observed = (_within_samples(table, of_sample, genes) for table in (values, observed))
        correlation = config.pcc_weight * pearson_loss(values, observed, genes)
        if head.kind != "rate":
            if config.loss != "squared":
                raise ModelError(f"loss {config.loss!r} needs counts; set head = 'rate', or loss = 'squared'.")
            return config.loss_weight * squared_loss(values, observed, genes) + correlation

        total = (predicted * batch.measured).sum(dim=1)
        # Captures are relative: their mean is fixed at one, since the head itself learns the common depth.
        log_capture = (self.log_capture - self.log_capture.mean())[batch.sample]
        if config.loss != "squared" and config.counts == "capture":
            # Expected counts include the total, so it needs no term of its own.
            expected = predicted * log_capture.exp().unsqueeze(1)
            return config.loss_weight * self._likelihood(expected, batch) + correlation
        # Where only some outputs were measured, the total over all outputs is scaled by their present share, without
        # gradient: the error of the total then does not depend on shares, and teaches the density alone.
        all_outputs = predicted.sum(dim=1)
        seen = all_outputs * (total / all_outputs).detach()
        error = torch.log(seen + 1.0) + log_capture - torch.log(batch.total + 1.0)
        depth = config.depth_weight * error.square().mean()
        if config.loss == "squared":
            return config.loss_weight * squared_loss(values, observed, genes) + correlation + depth
        expected = batch.total.unsqueeze(1) * predicted / total.unsqueeze(1)
        return config.loss_weight * self._likelihood(expected, batch) + correlation + depth

    def _likelihood(self, expected: Tensor, batch: Batch) -> Tensor:
        """Return the likelihood term for expected counts (N, M)."""
        if self.config.loss == "poisson":
            return poisson_loss(expected, batch.counts, batch.measured)
        return negative_binomial_loss(expected, batch.counts, self.log_dispersion.exp(), batch.measured)


def log_normalised(predicted: Tensor, head: Head, measured: Tensor, total: Tensor | None = None) -> Tensor:
    """Return the expected log1p of counts per 10,000, shape (N, genes), for a head's output (N, M).

    The output of a head other than `rate` is returned as it is. `measured` is 1 for the outputs whose counts make the
    region's total, shape (N, M). `total` are the counts of each region, shape (N,); by default the predicted ones.
    """
    if head.kind != "rate":
        return predicted
    predicted_total = (predicted * measured).sum(dim=1, keepdim=True).clamp(min=1e-12)
    depth = (predicted_total.detach() if total is None else total.unsqueeze(1)).clamp(min=1e-6)
    return expected_log(depth * predicted[:, :-1] / predicted_total, SCALE / depth)


def _within_samples(values: Tensor, of_sample: Tensor, measured: Tensor) -> Tensor:
    """Move the mean of each sample towards the mean of all samples, as far as its regions in the batch determine it.

    Whole samples differ (a donor's levels, how much of each gene a preparation captures) in ways that their images
    seldom show, and the network should not learn these from other differences between the images. As with the random
    effect of a mixed model, a mean over few regions counts less: the mean of a single region moves half the way, so it
    still teaches. `of_sample` is 1 where a region belongs to a sample, shape (N, samples).
    """
    offsets = of_sample.T @ ((values - gene_means(values, measured)) * measured) / (of_sample.T @ measured + 1.0)
    # A product rather than indexing, whose gradient several threads would add up in any order.
    return values - of_sample @ offsets
