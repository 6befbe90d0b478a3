"""Gene panels, normalisation, and how much of a gene's pattern could be predicted at all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.errors import DataError

if TYPE_CHECKING:
    from pixnet.sample import Sample

SCALE = 1e4
"""Counts are given per this many counts of the region."""

RULES = ("top-mean", "highly-variable", "list")

_BINS = 20  # groups of genes of similar mean, as in Macosko et al. 2015
_DETECTED = 0.1  # share of the regions in which a highly variable gene must be seen at least once
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


@dataclass(frozen=True)
class GenePanel:
    """The genes that a model predicts, in their order.

    Parameters
    ----------
    names
        Gene symbols or ids, as in the samples.
    rule
        How they were chosen: "top-mean", "highly-variable" or "list".

    Raises
    ------
    DataError
        If there is no gene, or one occurs twice.
    """

    names: tuple[str, ...]
    rule: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        if not self.names:
            raise DataError("The gene panel is empty; name at least one gene.")
        seen: set[str] = set()
        twice = [name for name in self.names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        if twice:
            raise DataError(
                f"The gene panel names {twice[0]!r} more than once ({len(twice)} repeats in all); name each gene once."
            )

    def __len__(self) -> int:
        return len(self.names)


def choose_panel(
    samples: Sequence[Sample], genes: int | Sequence[str], rule: str = "top-mean", min_counts: int = 500
) -> GenePanel:
    """Choose the genes to predict. Whoever calls gives the training samples only.

    Parameters
    ----------
    samples
        Only genes that were measured in all of them are chosen.
    genes
        How many; or their names, which makes the rule "list".
    rule
        "top-mean": the highest mean raw count over all regions of all samples, the rule of ST-Net (He et al. 2020),
        which the paper follows. "highly-variable": the highest dispersion (variance over mean of the counts per
        10,000, in logarithms) relative to genes of similar mean, as in Macosko et al. 2015 and early Seurat: genes
        fall into 20 groups of equal size by their mean, and within each the log dispersions are standardised; the
        scores are averaged over samples. Genes seen in less than a tenth of the regions of a sample do not count.
    min_counts
        Regions with fewer counts over all genes do not count for "highly-variable". For "top-mean" they do: ST-Net's
        rule has no such limit.

    Raises
    ------
    DataError
        If the rule is unknown, if fewer genes can be chosen than asked for, or if a named gene is not in all samples.
    """
    if not samples:
        raise DataError("A gene panel needs at least one training sample; none was given.")
    if isinstance(genes, str):
        raise DataError(f"genes: {genes!r} is one text; give a number or a list of names.")
    if not isinstance(genes, (int, np.integer)):
        panel = GenePanel(tuple(genes), "list")
        for sample in samples:
            _columns(sample, panel.names)
        return panel
    if rule not in RULES or rule == "list":
        advice = "it needs names, not a number" if rule == "list" else f"give one of {', '.join(RULES)}"
        raise DataError(f"rule {rule!r} cannot choose {genes} genes: {advice}.")
    names = samples[0].counts.var_names
    for sample in samples[1:]:
        names = names.intersection(sample.counts.var_names)
    shared = np.array([str(name) for name in names], dtype=object)
    if rule == "top-mean":
        score = _mean_counts(samples, shared)
    else:
        score = np.mean([_dispersion(sample, shared, min_counts) for sample in samples], axis=0)
    usable = int(np.isfinite(score).sum())
    if usable == 0:
        raise DataError(f"{len(samples)} samples share no gene that {rule!r} could choose; check their gene names.")
    if not 1 <= genes <= usable:
        raise DataError(f"genes: {genes} were asked for by the rule {rule!r}; give a number from 1 to {usable}.")
    # Equal scores are put in the order of the names, so that the order of the samples does not matter.
    order = np.lexsort((shared.astype(str), -np.where(np.isfinite(score), score, -np.inf)))
    return GenePanel(tuple(shared[order[:genes]]), rule)


def panel_counts(sample: Sample, panel: GenePanel) -> NDArray[np.float32]:
    """Give a sample's raw counts of the panel's genes, (n, g), in the panel's order.

    Raises
    ------
    DataError
        If the sample lacks a gene of the panel.
    """
    columns = _columns(sample, panel.names)
    return np.asarray(sample.counts.X[:, columns].toarray(), np.float32)


def enough_counts(sample: Sample, min_counts: int) -> NDArray[np.bool_]:
    """Tell which regions have at least `min_counts` counts over all genes, (n,)."""
    return np.asarray(sample.depth >= min_counts, np.bool_)


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
    values = _dense(counts)
    depth = _checked_total(values, total)
    rest = depth - values.sum(axis=1)
    if (values < 0).any() or (values % 1 != 0).any() or (rest < 0).any() or (rest % 1 != 0).any():
        raise DataError("The noise estimate needs raw counts: whole numbers whose sum is at most the region's total.")
    if splits < 1:
        raise DataError(f"splits: {splits} given; the noise estimate needs at least 1.")
    rng = np.random.default_rng(seed)
    whole, others = values.astype(np.int64), rest.astype(np.int64)
    r = np.zeros(values.shape[1])
    for _ in range(splits):
        half, half_others = rng.binomial(whole, 0.5), rng.binomial(others, 0.5)
        first = normalise(half, half.sum(axis=1) + half_others)
        second = normalise(whole - half, (whole - half).sum(axis=1) + others - half_others)
        r += correlation(first, second) / splits
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


def _columns(sample: Sample, names: Iterable[str]) -> NDArray[np.intp]:
    """Find the columns of genes in a sample's table."""
    wanted = list(names)
    columns = np.asarray(sample.counts.var_names.get_indexer(wanted), np.intp)
    missing = [name for name, column in zip(wanted, columns, strict=True) if column < 0]
    if missing:
        known = {str(name).upper(): str(name) for name in sample.counts.var_names}
        told = [_with_nearest(name, known) for name in missing[:3]]
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"sample {sample.id!r}: was not measured for {', '.join(told)}{rest}. Leave such genes out of the panel."
        )
    return columns


def _with_nearest(name: str, known: dict[str, str]) -> str:
    nearest = [known[match] for match in difflib.get_close_matches(name.upper(), known, n=3)]
    return f"{name!r} (nearest: {', '.join(nearest)})" if nearest else repr(name)


def _mean_counts(samples: Sequence[Sample], names: NDArray[Any]) -> NDArray[np.float64]:
    """Mean raw count of each gene over all regions of all samples."""
    regions = sum(sample.counts.n_obs for sample in samples)
    sums = np.zeros(len(names))
    for sample in samples:
        matrix = sample.counts.X[:, _columns(sample, names)]
        sums += np.asarray(matrix.sum(axis=0, dtype=np.float64)).ravel()
    return np.asarray(sums / regions, np.float64)


def _dispersion(sample: Sample, names: NDArray[Any], min_counts: int) -> NDArray[np.float64]:
    """Log dispersion of each gene, standardised among genes of similar mean; NaN for genes that are hardly seen."""
    enough = enough_counts(sample, min_counts)
    depth = sample.depth[enough]
    score = np.full(len(names), np.nan)
    if len(depth) < 2:
        raise DataError(f"sample {sample.id!r}: has {len(depth)} regions of {min_counts} counts; lower min_counts.")
    matrix = sample.counts.X[enough][:, _columns(sample, names)].astype(np.float64)
    matrix = sparse.diags_array(SCALE / np.maximum(depth, 1.0)) @ matrix
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    variance = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel() - mean**2
    seen = np.asarray((matrix > 0).sum(axis=0)).ravel() >= _DETECTED * len(depth)
    usable = np.flatnonzero(seen & (variance > 0))
    log_dispersion = np.log(variance[usable] / mean[usable])
    for group in np.array_split(np.argsort(mean[usable], kind="stable"), _BINS):
        values = log_dispersion[group]
        spread = values.std() if len(values) > 1 else 0.0
        score[usable[group]] = (values - values.mean()) / spread if spread > 0 else 0.0
    return score
