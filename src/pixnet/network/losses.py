"""What training minimises, on measured regions only."""

from __future__ import annotations

import math
from typing import Any

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


_SMALL_MEAN = 30.0  # up to here the Poisson probabilities are summed, beyond it the logarithm's series about the mean


def expected_log(mean: Tensor, scale: Tensor) -> Tensor:
    """Give the expectation of log(1 + scale * n) for counts n ~ Poisson(mean).

    The logarithm bends: of a gene with few counts in a region, the mean logarithm lies far below the logarithm of the
    mean. Given a region's total the counts of a gene are binomial, which Poisson's come close to unless the total is a
    few tens and the gene makes most of them. `pixnet.expression.log_expectation` is the same for NumPy's arrays,
    without the derivative.

    Parameters
    ----------
    mean
        (N, G), counts from zero upwards.
    scale
        (N, 1), 10,000 over a region's total counts for log-normalised values.

    Returns
    -------
    Tensor
        (N, G), within 1e-4 of the exact value. Its gradient with respect to `mean`, the expectation of
        log(1 + scale * (n + 1)) - log(1 + scale * n), is within 1e-4 of its size; `scale` has none.
    """
    result: Tensor = _ExpectedLog.apply(mean, scale)
    return result


class _ExpectedLog(torch.autograd.Function):
    """The sums are made once, for value and derivative together, and none of their terms is kept."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, scale: Tensor) -> Tensor:
        small = mean.clamp(max=_SMALL_MEAN)
        probability = torch.exp(-small)
        value, slope = torch.zeros_like(mean), probability * torch.log1p(scale)
        # Beyond this many counts less than 1e-9 of the sum is left. (The least of 30 and NaN is 30, in this order.)
        largest = min(_SMALL_MEAN, float(mean.max())) if mean.numel() else 0.0
        for n in range(1, math.ceil(largest + 8.0 * math.sqrt(largest) + 12.0)):
            probability = probability * small / n
            log = torch.log1p(scale * n)
            value = value + probability * log
            slope = slope + probability * (torch.log1p(scale * (n + 1)) - log)
        # The central moments 2 to 4 of a Poisson variable are m, m and 3 m^2 + m; the k-th derivative of the logarithm
        # over k! is (-1)^(k-1) t^k / k. With u = m t, at most 1, no power of m overflows.
        t = scale / (1.0 + scale * mean)
        u = mean * t
        series = torch.log1p(scale * mean) - u * t / 2 + u * t**2 / 3 - (3 * u + t) * u * t**2 / 4
        change = t - t**2 / 2 + (u + t / 3) * t**2 - (10 * u + t) * t**3 / 4 + (3 * u + t) * u * t**3
        large = mean > _SMALL_MEAN
        ctx.save_for_backward(torch.where(large, change, slope))
        return torch.where(large, series, value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None
