"""Normalisation of counts, and the correlation that counting noise allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.errors import DataError

SCALE = 1e4
"""Normalised counts are per this many counts of the region."""

_SMALL_MEAN = 50.0  # up to this mean the expected logarithm is computed as a sum, above it as a series
_CHUNK = 1 << 16  # entries that are summed at once


def normalise(counts: ArrayLike | sparse.sparray | sparse.spmatrix, total: ArrayLike) -> NDArray[np.float32]:
    """Return log(1 + 10,000 * counts / total), shape (n, g), float32; zero where the total is zero.

    Parameters
    ----------
    counts
        Counts of some genes or their expected values, shape (n, g), dense or sparse.
    total
        Counts of each region over *all* genes, shape (n,). So the value of a gene does not depend on the panel.

    Raises
    ------
    DataError
        If the shapes do not match, or if a total is negative or not finite.
    """
    values = _dense(counts)
    depth = _checked_total(values, total)
    share = np.divide(SCALE, depth, out=np.zeros_like(depth), where=depth > 0)
    return np.log1p(values * share[:, None]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class RawCounts:
    """Raw counts of some genes, (n, g), and of all others together, (n,), that can be split into two random halves."""

    panel: NDArray[np.int64]
    others: NDArray[np.int64]

    @classmethod
    def from_counts(cls, counts: ArrayLike | sparse.sparray | sparse.spmatrix, total: ArrayLike) -> RawCounts:
        """Check counts (n, g) and totals over all genes (n,), and split off the counts of the other genes.

        DataError is raised if counts are negative, fractional or exceed the totals.
        """
        values = _dense(counts)
        depth = _checked_total(values, total)
        others = depth - values.sum(axis=1)
        if (values < 0).any() or (values % 1 != 0).any() or (others < 0).any() or (others % 1 != 0).any():
            raise DataError("Raw counts are needed: whole numbers from 0, whose sum is at most the region's total.")
        return cls(values.astype(np.int64), others.astype(np.int64))

    def halves(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Assign each count to one of two halves by a fair coin; return both (n, g), normalised by their own totals."""
        first, others = rng.binomial(self.panel, 0.5), rng.binomial(self.others, 0.5)
        second, other_rest = self.panel - first, self.others - others
        return normalise(first, first.sum(axis=1) + others), normalise(second, second.sum(axis=1) + other_rest)


@dataclass(frozen=True)
class NoiseEstimate:
    """How well the measured values could be predicted if counting noise were the only limit."""

    per_gene: NDArray[np.float64]  # estimated attainable Pearson correlation of each gene, shape (g,)
    negative: int  # number of genes whose halves do not correlate positively; their estimate is zero


def noise_estimate(
    counts: ArrayLike | sparse.sparray | sparse.spmatrix, total: ArrayLike, splits: int = 20, seed: int = 0
) -> NoiseEstimate:
    """Estimate the correlation with the measured values that a perfect prediction would reach, from the counts alone.

    The counts of each region are split into two halves by fair coins, both those of the panel, (n, g), and those of all
    other genes together. Each half is normalised by its own total. For each gene, r is the correlation of the halves
    over regions, averaged over splits. The reliability of all counts is 2 r / (1 + r) (Spearman-Brown formula). Its
    square root is the correlation of the measured with the noise-free values. With 20 splits or more, the mean over
    genes varies by less than 0.01.

    This is an estimate under Poisson noise, not a bound. It is too high where counts are few, because the logarithm is
    not linear, and where counts vary more than Poisson counts do: whatever both halves share counts as signal,
    including technical effects.

    DataError is raised if counts are negative, fractional or exceed the totals, or if `splits` is below 1.
    """
    if splits < 1:
        raise DataError(f"`splits` is {splits}; the noise estimate needs at least 1.")
    raw = RawCounts.from_counts(counts, total)
    rng = np.random.default_rng(seed)
    r = np.zeros(raw.panel.shape[1])
    for _ in range(splits):
        r += correlation(*raw.halves(rng)) / splits
    negative = r <= 0
    reliability = 2.0 * np.maximum(r, 0.0) / (1.0 + np.maximum(r, 0.0))
    return NoiseEstimate(np.sqrt(reliability), int(negative.sum()))


def correlation(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the Pearson correlation of each column of two (n, g) tables over the rows; zero where one is constant."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    # A constant column has no variance, but rounding may give it some. So constant columns are found by their range.
    varies = (np.ptp(a, axis=0) > 0) & (np.ptp(b, axis=0) > 0)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.sqrt((a * a).sum(axis=0)) * np.sqrt((b * b).sum(axis=0))
    r = np.divide((a * b).sum(axis=0), norm, out=np.zeros_like(norm), where=varies & (norm > 0))
    return np.asarray(np.clip(r, -1.0, 1.0), np.float64)


def log_expectation(share: ArrayLike, total: ArrayLike) -> NDArray[np.float64]:
    """Return the expectation of log(1 + 10,000 n / N) for counts n ~ Poisson(N * share), shape (n, g).

    The logarithm of an expected count is larger than the expected logarithm, and the difference grows as counts become
    fewer. So a method that predicts expected counts, but is scored on log-normalised counts, should predict this value.
    It is zero where the total N is zero.

    Up to a mean of 50 the Poisson probabilities are summed. Above, the Taylor series of the logarithm around the mean
    is used up to the sixth central moment. In both cases the relative error is below 1e-6.
    """
    shares = _dense(share)
    depth = _checked_total(shares, total)
    if not (np.isfinite(shares).all() and (shares >= 0).all()):
        raise DataError("`share` holds values that are negative or not finite; give shares of 0 or more.")
    scale = np.divide(SCALE, depth, out=np.zeros_like(depth), where=depth > 0)
    result = np.empty_like(shares)
    rows = max(1, _CHUNK // max(1, shares.shape[1]))
    for start in range(0, len(shares), rows):
        part = slice(start, start + rows)
        mean = shares[part] * depth[part, None]
        summed = _poisson_sum(np.minimum(mean, _SMALL_MEAN), scale[part])
        result[part] = np.where(mean <= _SMALL_MEAN, summed, _poisson_series(mean, scale[part, None]))
    return result


def expected_logs(counts: ArrayLike, total: ArrayLike) -> NDArray[np.float32]:
    """Return the log-normalised expression that a measurement is expected to show, given expected counts (n, g).

    `total` are the expected counts over all genes, (n,). See `log_expectation`. The result is (n, g), NaN where no
    counts are expected at all.
    """
    expected, depth = np.asarray(counts, np.float64), np.asarray(total, np.float64)
    covered = depth > 0
    values = np.full(expected.shape, np.nan, np.float32)
    values[covered] = log_expectation(expected[covered] / depth[covered, None], depth[covered])
    return values


def _poisson_sum(mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum pmf(k) * log(1 + scale * k) over k, for means (n, g) up to 50 and scales (n,)."""
    largest = mean.max(axis=0, initial=0.0)
    # Above this many counts, less than 1e-9 of the sum is left. Genes are sorted by this bound, so that the sum over k
    # continues with a shrinking block of columns.
    bound = np.ceil(largest + 8.0 * np.sqrt(largest) + 12.0)
    order = np.argsort(bound, kind="stable")
    ordered = np.ascontiguousarray(mean[:, order])
    probability = np.exp(-ordered)
    total = np.zeros_like(ordered)
    for k in range(1, int(bound.max(initial=0.0)) + 1):
        first = int(np.searchsorted(bound[order], k))
        active = probability[:, first:]
        active *= ordered[:, first:] * (1.0 / k)
        total[:, first:] += active * np.log1p(scale * k)[:, None]
    result = np.empty_like(total)
    result[:, order] = total
    return result


def _poisson_series(mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the same expectation by a series around the mean, for large means (n, g) and scales (n, 1)."""
    m = mean
    # Central moments 2 to 6 of a Poisson variable.
    moments = (m, m, 3 * m**2 + m, 10 * m**2 + m, 15 * m**3 + 25 * m**2 + m)
    # The k-th derivative of log(1 + s x) over k! is (-1)^(k-1) t^k / k with t = s / (1 + s x).
    t = scale / (1.0 + scale * m)
    result = np.log1p(scale * m)
    for k, moment in enumerate(moments, start=2):
        result += (-1.0) ** (k - 1) / k * moment * t**k
    return result


def _dense(values: ArrayLike | sparse.sparray | sparse.spmatrix) -> NDArray[np.float64]:
    array: Any = values.toarray() if sparse.issparse(values) else values
    dense = np.asarray(array, np.float64)
    if dense.ndim != 2:
        raise DataError(f"A table of regions by genes was expected, not an array of shape {dense.shape}.")
    return dense


def _checked_total(values: NDArray[np.float64], total: ArrayLike) -> NDArray[np.float64]:
    depth = np.asarray(total, np.float64)
    if depth.shape != (len(values),):
        raise DataError(f"`total` must hold one number for each of {len(values)} regions, but has shape {depth.shape}.")
    if not (np.isfinite(depth).all() and (depth >= 0).all()):
        raise DataError("`total` holds values that are negative or not finite; give counts of 0 or more.")
    return depth
