"""What a log-normalised measurement is expected to be, given the counts that are expected, with its derivative."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

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
