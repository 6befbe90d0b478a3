"""Losses of training over measured regions, and the expected logarithm that the head `rate` is scored by.

`measured` is 1 where an entry (N, M) was measured, otherwise 0; by default all were measured.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_SMALL_MEAN = 30.0  # up to this mean Poisson probabilities are summed; above it the logarithm's series is used


def pearson_loss(predicted: Tensor, observed: Tensor, measured: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Return one minus the Pearson correlation of each gene over the regions (N, M), averaged over genes.

    This is the second term of the paper's loss (arXiv 2503.01347v4, section on the loss). Genes that do not vary in the
    batch carry no information and are left out; without any gene the loss is zero. The small `eps` is inside the square
    root, where the plain formula has an infinite gradient at zero variance.
    """
    p, o = _centred(predicted, measured), _centred(observed, measured)
    varies = o.square().sum(0) > eps
    correlation = (p * o).sum(0) / torch.sqrt(p.square().sum(0) * o.square().sum(0) + eps)
    return ((1.0 - correlation) * varies).sum() / varies.sum().clamp(min=1)


def _centred(values: Tensor, measured: Tensor | None) -> Tensor:
    """Subtract the mean of each gene over its measured regions; entries that were not measured become zero."""
    if measured is None:
        return values - values.mean(0)
    return (values - gene_means(values, measured)) * measured


def gene_means(values: Tensor, measured: Tensor) -> Tensor:
    """Return the mean of each gene, (M,), over the regions (N, M) it was measured in; zero where there are none."""
    return (values * measured).sum(0) / measured.sum(0).clamp(min=1)


def _mean(values: Tensor, measured: Tensor | None) -> Tensor:
    return values.mean() if measured is None else (values * measured).sum() / measured.sum().clamp(min=1)


def poisson_loss(expected: Tensor, counts: Tensor, measured: Tensor | None = None) -> Tensor:
    """Return the Poisson deviance of counts (N, M) given their expectations, averaged over the measured entries.

    The deviance is twice the negative log likelihood, minus its value for a perfect fit.
    """
    expected = expected.clamp(min=1e-8)
    # counts * log(counts / expected) is zero, in the limit, where the count is zero.
    return _mean(2.0 * (torch.xlogy(counts, counts) - counts * expected.log() - counts + expected), measured)


def negative_binomial_loss(
    expected: Tensor, counts: Tensor, dispersion: Tensor, measured: Tensor | None = None
) -> Tensor:
    """Return the negative log likelihood of counts (N, M) under a negative binomial, averaged over measured entries.

    `dispersion` is theta of each output, shape (M,): the variance is mean + mean^2 / theta.
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
    """Return the mean squared error over the measured entries (N, M), the first term of the paper's loss."""
    return _mean((predicted - observed).square(), measured)


def expected_log(mean: Tensor, scale: Tensor) -> Tensor:
    """Return the expectation of log(1 + scale * n) for counts n ~ Poisson(mean), shape (N, G), within 1e-4.

    The logarithm is concave: for a gene with few counts in a region, the mean of the logarithm is far below the
    logarithm of the mean. Given a region's total, the counts of a gene are binomial. Poisson counts are close to that
    unless the total is a few tens and the gene makes up most of it. `pixnet.expression.log_expectation` is the same for
    NumPy arrays, without the derivative.

    `mean` holds expected counts, shape (N, G), and `scale`, shape (N, 1), is 10,000 divided by a region's total for
    log-normalised values. The gradient with respect to `mean`, the expectation of log(1 + scale * (n + 1)) - log(1 +
    scale * n), has a relative error below 1e-4; `scale` gets no gradient.
    """
    result: Tensor = _ExpectedLog.apply(mean, scale)
    return result


class _ExpectedLog(torch.autograd.Function):
    """Computes the sums of value and derivative together, once, and keeps none of their terms for the gradient."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, scale: Tensor) -> Tensor:
        small = mean.clamp(max=_SMALL_MEAN)
        probability = torch.exp(-small)
        value, slope = torch.zeros_like(mean), probability * torch.log1p(scale)
        # Beyond the last n less than 1e-9 of the sum is left. (In this order, the minimum of 30 and NaN is 30.)
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
