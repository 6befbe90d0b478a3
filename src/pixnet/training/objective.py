"""The loss of a batch, for either kind of head."""

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
    """First term, with its weight, plus lambda times the correlation term.

    The head `rate` predicts counts. Its log-normalised values are what measured ones are expected to be: the
    logarithm's expectation over Poisson counts of the predicted shares, at the region's measured total. So shares are
    learned as they are, however few counts a region has. They do not tell how many it has in all, so a third term
    holds the total to what was measured, up to the sample's capture efficiency. It is what teaches the field, by its
    density, where cells are.

    Parameters
    ----------
    config
        Losses and weights.
    samples
        Number of samples, each with a capture factor k of its own.
    outputs
        Outputs of the head.
    """

    def __init__(self, config: TrainingConfig, samples: int, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.log_capture = nn.Parameter(torch.zeros(samples))
        self.log_dispersion = nn.Parameter(torch.full((outputs,), 2.0))

    def forward(self, predicted: Tensor, batch: Batch, head: Head) -> Tensor:
        """Give the loss.

        Parameters
        ----------
        predicted
            (N, M), what the head gives for the batch's regions.
        batch
            The targets.
        head
            Says what `predicted` means.
        """
        config, first = self.config, self.config.loss_weight
        genes = batch.measured[:, : batch.values.shape[1]]
        values, observed = log_normalised(predicted, head, batch.measured, batch.total), batch.values
        if config.within_samples:
            of_sample = F.one_hot(batch.sample, len(self.log_capture)).to(predicted.dtype)
            values, observed = (_within(table, of_sample, genes) for table in (values, observed))
        correlation = config.pcc_weight * pearson_loss(values, observed, genes)
        if head.kind != "rate":
            if config.loss != "squared":
                raise ModelError(f"loss {config.loss!r} needs counts; set head = 'rate', or loss = 'squared'.")
            return first * squared_loss(values, observed, genes) + correlation

        total = (predicted * batch.measured).sum(dim=1)
        # Captures are relative to each other: their mean is held at one, since the head carries the common depth.
        log_capture = (self.log_capture - self.log_capture.mean())[batch.sample]
        if config.loss != "squared" and config.counts == "capture":
            # Counts that are expected as they are hold the total themselves.
            return first * self._likelihood(predicted * log_capture.exp().unsqueeze(1), batch) + correlation
        # Where not all was measured, what is predicted of it all is learned from, in the share that it has as it is:
        # so the error of the total does not hang on shares, and teaches the density alone.
        whole = predicted.sum(dim=1)
        seen = whole * (total / whole).detach()
        error = torch.log(seen + 1.0) + log_capture - torch.log(batch.total + 1.0)
        depth = config.depth_weight * error.square().mean()
        if config.loss == "squared":
            return first * squared_loss(values, observed, genes) + correlation + depth
        expected = batch.total.unsqueeze(1) * predicted / total.unsqueeze(1)
        return first * self._likelihood(expected, batch) + correlation + depth

    def _likelihood(self, expected: Tensor, batch: Batch) -> Tensor:
        """Give the term of a likelihood, of counts (N, M) that are expected."""
        if self.config.loss == "poisson":
            return poisson_loss(expected, batch.counts, batch.measured)
        return negative_binomial_loss(expected, batch.counts, self.log_dispersion.exp(), batch.measured)


def log_normalised(predicted: Tensor, head: Head, measured: Tensor, total: Tensor | None = None) -> Tensor:
    """Give what log1p of counts per 10,000 is expected to be, (N, genes).

    Parameters
    ----------
    predicted
        (N, M), what the head gives for the regions; all but `rate` give these values themselves.
    head
        Says what `predicted` means.
    measured
        (N, M), 1 for the outputs whose counts make the region's total.
    total
        (N,), counts of each region; by default those that are predicted.
    """
    if head.kind != "rate":
        return predicted
    whole = (predicted * measured).sum(dim=1, keepdim=True).clamp(min=1e-12)
    depth = (whole.detach() if total is None else total.unsqueeze(1)).clamp(min=1e-6)
    return expected_log(depth * predicted[:, :-1] / whole, SCALE / depth)


def _within(values: Tensor, of_sample: Tensor, measured: Tensor) -> Tensor:
    """Bring the samples of a batch to the mean of all, as far as their regions in it tell their own.

    What differs between samples as wholes (a donor's levels, what a preparation captures of each gene) their pictures
    seldom show, and it is not to be learned from what else tells the pictures apart. As with the random effect of a
    mixed model, a mean of few regions counts less: alone, a region is moved half the way and still teaches.

    Parameters
    ----------
    values
        (N, genes).
    of_sample
        (N, samples), 1 where a region is of a sample.
    measured
        (N, genes), 1 where a value counts.
    """
    apart = of_sample.T @ ((values - gene_means(values, measured)) * measured) / (of_sample.T @ measured + 1.0)
    # A product and no look-up, whose gradient several threads would add up in any order.
    return values - of_sample @ apart
