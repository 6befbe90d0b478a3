"""What training minimises, on measured regions only."""

from __future__ import annotations

import torch
from torch import Tensor


def pearson_loss(predicted: Tensor, observed: Tensor, measured: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """One minus the Pearson correlation of each gene over the regions of a batch, averaged over genes.

    The paper's second term (arXiv 2503.01347v4, section on the loss). Genes that do not vary in the batch carry no
    information and are left out. The small `eps` stands inside the square root, where the plain formula has an
    infinite gradient at zero variance.

    Parameters
    ----------
    predicted, observed
        (N, M).
    measured
        (N, M), 1 where an entry counts, 0 where it was not measured; all count by default.

    Returns
    -------
    Tensor
        A scalar in 0..2; zero, without gradient, if no gene varies.
    """
    p, o = _centred(predicted, measured), _centred(observed, measured)
    varies = o.square().sum(0) > eps
    correlation = (p * o).sum(0) / torch.sqrt(p.square().sum(0) * o.square().sum(0) + eps)
    return ((1.0 - correlation) * varies).sum() / varies.sum().clamp(min=1)


def _centred(values: Tensor, measured: Tensor | None) -> Tensor:
    """Take each gene's mean over its measured regions off; entries that were not measured become zero."""
    if measured is None:
        return values - values.mean(0)
    return (values - gene_means(values, measured)) * measured


def gene_means(values: Tensor, measured: Tensor) -> Tensor:
    """Give each gene's mean, (M,), over the regions (N, M) in which it was measured; zero where there are none."""
    return (values * measured).sum(0) / measured.sum(0).clamp(min=1)


def _mean(values: Tensor, measured: Tensor | None) -> Tensor:
    return values.mean() if measured is None else (values * measured).sum() / measured.sum().clamp(min=1)


def poisson_loss(expected: Tensor, counts: Tensor, measured: Tensor | None = None) -> Tensor:
    """Poisson deviance of counts (N, M) given their expectations (N, M), averaged over the measured entries.

    The deviance is twice the negative log likelihood, less its value for a perfect fit.
    """
    expected = expected.clamp(min=1e-8)
    # counts * log(counts / expected) is zero, in the limit, where the count is zero.
    return _mean(2.0 * (torch.xlogy(counts, counts) - counts * expected.log() - counts + expected), measured)


def negative_binomial_loss(
    expected: Tensor, counts: Tensor, dispersion: Tensor, measured: Tensor | None = None
) -> Tensor:
    """Negative log likelihood of counts (N, M) under a negative binomial, averaged over the measured entries.

    Parameters
    ----------
    expected
        (N, M), the mean.
    dispersion
        (M,), theta: the variance is mean + mean^2 / theta.
    """
    expected = expected.clamp(min=1e-8)
    total = dispersion + expected
    likelihood = (
        torch.lgamma(counts + dispersion)
        - torch.lgamma(dispersion)
        - torch.lgamma(counts + 1.0)
        + dispersion * (dispersion.log() - total.log())
        + torch.xlogy(counts, expected)
        - torch.xlogy(counts, total)
    )
    return _mean(-likelihood, measured)


def squared_loss(predicted: Tensor, observed: Tensor, measured: Tensor | None = None) -> Tensor:
    """Mean squared error over the measured entries, the paper's first term."""
    return _mean((predicted - observed).square(), measured)
