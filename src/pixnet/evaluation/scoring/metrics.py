"""The scores of the paper: errors over all entries, correlation per gene over regions."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pixnet.errors import DataError
from pixnet.expression import correlation

_AT_ONCE = 100  # resamplings that are held in memory together


class Score(TypedDict):
    """What `score` gives.

    Attributes
    ----------
    mse, mae
        Mean squared and mean absolute error over all entries.
    pcc_f, pcc_s, pcc_m
        First quartile, median and mean over genes of the Pearson correlation over regions; NaN if no gene varies.
    per_gene
        (g,) correlation of each gene; NaN for those that do not vary in the observed values.
    n_regions, n_genes
        Size of the table.
    n_constant_observed
        Genes that do not vary in the observed values; they are left out of the three summaries.
    n_constant_predicted
        Genes that vary in the observed values but not in the predicted ones; they count as zero.
    """

    mse: float
    mae: float
    pcc_f: float
    pcc_s: float
    pcc_m: float
    per_gene: NDArray[np.float64]
    n_regions: int
    n_genes: int
    n_constant_observed: int
    n_constant_predicted: int


def score(observed: ArrayLike, predicted: ArrayLike) -> Score:
    """Score predicted against observed values, (n, g) each, as in arXiv 2503.01347v4 (MSE, MAE, PCC@F, @S, @M).

    Raises
    ------
    DataError
        If the two differ in shape, have fewer than two regions or no gene, or hold values that are not finite.
    """
    truth, guess = _checked(observed, predicted)
    error = guess - truth
    varies, guess_varies = np.ptp(truth, axis=0) > 0, np.ptp(guess, axis=0) > 0
    per_gene = np.where(varies, correlation(truth, guess), np.nan)
    summary = [*np.percentile(per_gene[varies], [25, 50]), per_gene[varies].mean()] if varies.any() else [np.nan] * 3
    return Score(
        mse=float(np.mean(error**2)),
        mae=float(np.mean(np.abs(error))),
        pcc_f=float(summary[0]),
        pcc_s=float(summary[1]),
        pcc_m=float(summary[2]),
        per_gene=per_gene,
        n_regions=len(truth),
        n_genes=truth.shape[1],
        n_constant_observed=int((~varies).sum()),
        n_constant_predicted=int((varies & ~guess_varies).sum()),
    )


def rank_correlation(observed: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Give Spearman's correlation of each gene over regions, (g,).

    As for Pearson's: NaN for genes that do not vary in the observed values, 0 for those that do so there alone.

    Raises
    ------
    DataError
        As `score`.
    """
    truth, guess = _checked(observed, predicted)
    ranks = correlation(stats.rankdata(truth, axis=0), stats.rankdata(guess, axis=0))
    return np.where(np.ptp(truth, axis=0) > 0, ranks, np.nan)


def correlation_given_depth(observed: ArrayLike, predicted: ArrayLike, total: ArrayLike) -> NDArray[np.float64]:
    """Give each gene's partial correlation over regions, (g,), given how many counts the regions have.

    A quadratic in the logarithm of the total is fitted to the observed and to the predicted values of each gene, and
    what is left of both is correlated. Log-normalised values of few counts hang on the total, so a part of a
    correlation can come from predicting it.

    Parameters
    ----------
    observed, predicted
        (n, g).
    total
        (n,) counts of each region over all genes.

    Returns
    -------
    array
        NaN for genes that do not vary in the observed values; 0 where nothing is left of one of the two.

    Raises
    ------
    DataError
        As `score`.
    """
    truth, guess = _checked(observed, predicted)
    depth = np.log1p(np.asarray(total, np.float64))
    depth -= depth.mean()
    terms = np.stack([np.ones_like(depth), depth, depth**2], axis=1)
    left = [table - terms @ np.linalg.lstsq(terms, table, rcond=None)[0] for table in (truth, guess)]
    # What is left of a value that does not vary, or that the total explains whole, is rounding.
    some = [(np.ptp(table, axis=0) > 0) & (rest.std(axis=0) > 1e-6 * table.std(axis=0))
            for rest, table in zip(left, (truth, guess), strict=True)]  # fmt: skip
    partial = np.where(some[0] & some[1], correlation(*left), 0.0)
    return np.where(np.ptp(truth, axis=0) > 0, partial, np.nan)


def bootstrap_interval(
    observed: ArrayLike, predicted: ArrayLike, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Give a percentile interval of PCC@M over redrawn regions (Efron's bootstrap).

    Regions are redrawn one by one, so the interval tells how far the score hangs on which regions were measured. It
    knows nothing of other sections or donors, and neighbouring regions are alike, so it is rather too narrow.

    Parameters
    ----------
    observed, predicted
        (n, g).
    resamples
        How often the regions are redrawn.
    level
        Share of the resampled scores inside the interval.
    seed
        Of the redrawing.

    Returns
    -------
    low, high

    Raises
    ------
    DataError
        As `score`; also if `resamples` or `level` is out of range.
    """
    truth, guess = _checked(observed, predicted)
    if resamples < 1 or not 0.0 < level < 1.0:
        raise DataError(f"{resamples} resamples at level {level:g}: give at least 1, and a level between 0 and 1.")
    # The mean is taken off first: sums of squares of large numbers would lose the digits of a small variance.
    t, p = truth - truth.mean(axis=0), guess - guess.mean(axis=0)
    rng = np.random.default_rng(seed)
    n = len(t)
    means: list[float] = []
    for start in range(0, resamples, _AT_ONCE):
        weights = rng.multinomial(n, np.full(n, 1.0 / n), size=min(_AT_ONCE, resamples - start)) / n
        mean_t, mean_p = weights @ t, weights @ p
        var_t, var_p = weights @ t**2 - mean_t**2, weights @ p**2 - mean_p**2
        # What is left of a variance after all else has cancelled is rounding.
        varies, guess_varies = var_t > 1e-12 * (t**2).mean(axis=0), var_p > 1e-12 * (p**2).mean(axis=0)
        norm = np.sqrt(np.maximum(var_t * var_p, 0.0))
        both = varies & guess_varies & (norm > 0)
        r = np.divide(weights @ (t * p) - mean_t * mean_p, norm, out=np.zeros_like(norm), where=both)
        some = varies.any(axis=1)
        means.extend((r * varies).sum(axis=1)[some] / varies.sum(axis=1)[some])
    if not means:
        return float("nan"), float("nan")
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def _checked(observed: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth, guess = np.asarray(observed, np.float64), np.asarray(predicted, np.float64)
    if truth.shape != guess.shape or truth.ndim != 2:
        raise DataError(f"observed {truth.shape} and predicted {guess.shape} must be tables of the same shape.")
    if len(truth) < 2 or truth.shape[1] < 1:
        raise DataError(f"a table of shape {truth.shape} cannot be scored; it takes two regions and one gene at least.")
    for name, values in (("observed", truth), ("predicted", guess)):
        if not np.isfinite(values).all():
            raise DataError(f"{name}: holds {int((~np.isfinite(values)).sum())} values that are not finite.")
    return truth, guess
