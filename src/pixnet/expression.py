"""Normalisation, and how much of a gene's pattern could be predicted at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.errors import DataError

if TYPE_CHECKING:
    pass

SCALE = 1e4
"""Counts are given per this many counts of the region."""

_SMALL_MEAN = 50.0  # up to here the expected logarithm is a sum, beyond it a series
_CHUNK = 1 << 16  # entries that are summed at once


def normalise(counts: ArrayLike | sparse.sparray | sparse.spmatrix, total: ArrayLike) -> NDArray[np.float32]:
    """Give log(1 + 10,000 * counts / total).

    Parameters
    ----------
    counts
        (n, g) counts of some genes, or their expectations; dense or sparse.
    total
        (n,) counts of each region over *all* genes, so that the value of a gene does not depend on the panel.

    Returns
    -------
    array
        (n, g) float32; zeros where the total is zero.

    Raises
    ------
    DataError
        If the shapes do not fit together.
    """
    values = _dense(counts)
    depth = _checked_total(values, total)
    share = np.divide(SCALE, depth, out=np.zeros_like(depth), where=depth > 0)
    return np.log1p(values * share[:, None]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class RawCounts:
    """Counts that can be thrown into two halves.

    Attributes
    ----------
    panel
        (n, g) counts of some genes.
    others
        (n,) counts of all other genes together.
    """

    panel: NDArray[np.int64]
    others: NDArray[np.int64]

    @classmethod
    def of(cls, counts: ArrayLike | sparse.sparray | sparse.spmatrix, total: ArrayLike) -> RawCounts:
        """Take the counts (n, g) and the totals (n,) over all genes.

        Raises
        ------
        DataError
            If counts are negative, fractional or exceed the totals.
        """
        values = _dense(counts)
        depth = _checked_total(values, total)
        rest = depth - values.sum(axis=1)
        if (values < 0).any() or (values % 1 != 0).any() or (rest < 0).any() or (rest % 1 != 0).any():
            raise DataError("Raw counts are needed: whole numbers from 0, whose sum is at most the region's total.")
        return cls(values.astype(np.int64), rest.astype(np.int64))

    def halves(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Throw each count into one of two halves by a fair coin, and normalise each half by its own total: (n, g)."""
        half, others = rng.binomial(self.panel, 0.5), rng.binomial(self.others, 0.5)
        rest, other_rest = self.panel - half, self.others - others
        return normalise(half, half.sum(axis=1) + others), normalise(rest, rest.sum(axis=1) + other_rest)


@dataclass(frozen=True)
class NoiseEstimate:
    """How well the measured values could be predicted if counting noise were all that stands in the way.

    Attributes
    ----------
    per_gene
        (g,) estimated attainable Pearson correlation.
    negative
        Genes whose halves do not correlate positively; their estimate is zero.
    """

    per_gene: NDArray[np.float64]
    negative: int


def noise_estimate(
    counts: ArrayLike | sparse.sparray | sparse.spmatrix, total: ArrayLike, splits: int = 20, seed: int = 0
) -> NoiseEstimate:
    """Estimate, from the counts alone, what correlation with the measured values a perfect prediction would reach.

    The counts of each region, of the panel and of all other genes together, are thrown into two halves by fair coins.
    Each half is normalised by its own total. Per gene, r is the halves' correlation over regions, averaged over
    splits; the reliability of the whole is 2 r / (1 + r) (Spearman and Brown), and its root is the correlation of
    the measured with the noise-free value.

    It is an estimate under Poisson noise, and no bound: it is too high where counts are few (the logarithm bends) or
    vary more than Poisson counts do, since whatever both halves share, technical effects included, passes for signal.

    Parameters
    ----------
    counts
        (n, g) raw counts of the panel.
    total
        (n,) counts of each region over all genes.
    splits
        How many splits are averaged; 20 or more keep the randomness of the mean over genes below 0.01.
    seed
        Of the coins.

    Raises
    ------
    DataError
        If counts are negative, fractional or exceed the totals, or if `splits` is below 1.
    """
    if splits < 1:
        raise DataError(f"splits: {splits} given; the noise estimate needs at least 1.")
    raw = RawCounts.of(counts, total)
    rng = np.random.default_rng(seed)
    r = np.zeros(raw.panel.shape[1])
    for _ in range(splits):
        r += correlation(*raw.halves(rng)) / splits
    negative = r <= 0
    reliability = 2.0 * np.maximum(r, 0.0) / (1.0 + np.maximum(r, 0.0))
    return NoiseEstimate(np.sqrt(reliability), int(negative.sum()))


def correlation(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Give the Pearson correlation of each column over the rows; zero where either does not vary.

    Parameters
    ----------
    first, second
        (n, g).
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    # A constant column has no variance, but its rounding errors may: so it is told by its range.
    varies = (np.ptp(a, axis=0) > 0) & (np.ptp(b, axis=0) > 0)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.sqrt((a * a).sum(axis=0)) * np.sqrt((b * b).sum(axis=0))
    r = np.divide((a * b).sum(axis=0), norm, out=np.zeros_like(norm), where=varies & (norm > 0))
    return np.asarray(np.clip(r, -1.0, 1.0), np.float64)


def log_expectation(share: ArrayLike, total: ArrayLike) -> NDArray[np.float64]:
    """Give the expectation of log(1 + 10,000 n / N) for counts n ~ Poisson(N * share).

    The logarithm of an expected count is above the expected logarithm, the more so the fewer the counts. So whoever
    predicts expected counts and is scored on log-normalised ones should predict this.

    Up to a mean of 50 the Poisson probabilities are summed. Beyond, the Taylor series of the logarithm about the mean
    is taken to the sixth central moment. Either way the relative error is below 1e-6.

    Parameters
    ----------
    share
        (n, g) expected share of each gene in the region's counts.
    total
        (n,) total counts N of each region.

    Returns
    -------
    array
        (n, g); zeros where the total is zero.

    Raises
    ------
    DataError
        If the shapes do not fit together, or a share or total is negative or not finite.
    """
    shares = _dense(share)
    depth = _checked_total(shares, total)
    if not (np.isfinite(shares).all() and (shares >= 0).all()):
        raise DataError("share: holds negative values or values that are not finite; give shares from 0 upwards.")
    scale = np.divide(SCALE, depth, out=np.zeros_like(depth), where=depth > 0)
    result = np.empty_like(shares)
    rows = max(1, _CHUNK // max(1, shares.shape[1]))
    for start in range(0, len(shares), rows):
        part = slice(start, start + rows)
        mean = shares[part] * depth[part, None]
        summed = _poisson_sum(np.minimum(mean, _SMALL_MEAN), scale[part])
        result[part] = np.where(mean <= _SMALL_MEAN, summed, _poisson_series(mean, scale[part, None]))
    return result


def _poisson_sum(mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum pmf(k) * log(1 + scale * k) over k, for means (n, g) up to 50 and scales (n,)."""
    largest = mean.max(axis=0, initial=0.0)
    # Beyond this many counts less than 1e-9 of the sum is left. Genes are ordered by it, so that the sum over k goes
    # on with a shrinking block of columns.
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
    """Expand the same expectation about the mean; right for large means."""
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
        raise DataError(f"A table of regions by genes was expected; got an array of shape {dense.shape}.")
    return dense


def _checked_total(values: NDArray[np.float64], total: ArrayLike) -> NDArray[np.float64]:
    depth = np.asarray(total, np.float64)
    if depth.shape != (len(values),):
        raise DataError(f"total: one number for each of {len(values)} regions was expected; got shape {depth.shape}.")
    if not (np.isfinite(depth).all() and (depth >= 0).all()):
        raise DataError("total: holds negative values or values that are not finite; give counts from 0 upwards.")
    return depth
