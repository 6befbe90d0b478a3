"""The scores of the paper: errors over all entries, correlation per gene over regions."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pixnet.errors import DataError
from pixnet.expression import correlation


class Score(TypedDict):
    """What `score` returns.

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
    first, median, mean = quartiles(per_gene[varies])
    return Score(
        mse=float(np.mean(error**2)),
        mae=float(np.mean(np.abs(error))),
        pcc_f=first,
        pcc_s=median,
        pcc_m=mean,
        per_gene=per_gene,
        n_regions=len(truth),
        n_genes=truth.shape[1],
        n_constant_observed=int((~varies).sum()),
        n_constant_predicted=int((varies & ~guess_varies).sum()),
    )


def quartiles(per_gene: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return first quartile, median and mean over genes (PCC@F, @S, @M); NaN if there are none."""
    if not len(per_gene):
        return np.nan, np.nan, np.nan
    first, median = np.percentile(per_gene, [25, 50])
    return float(first), float(median), float(per_gene.mean())


def rank_correlation(observed: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Return Spearman's correlation of each gene over regions, (g,).

    As for Pearson's: NaN for genes that do not vary in the observed values, 0 for those that vary only there.
    """
    truth, guess = _checked(observed, predicted)
    ranks = correlation(stats.rankdata(truth, axis=0), stats.rankdata(guess, axis=0))
    return np.where(np.ptp(truth, axis=0) > 0, ranks, np.nan)


def correlation_given_depth(observed: ArrayLike, predicted: ArrayLike, total: ArrayLike) -> NDArray[np.float64]:
    """Return each gene's partial correlation over regions, (g,), given the regions' total counts (n,).

    A quadratic in the logarithm of the total is fitted to the observed and to the predicted values of each gene, and
    what is left of both is correlated. Log-normalised values of few counts depend on the total, so a part of a
    correlation can come from predicting it. NaN for genes that do not vary in the observed values; 0 where nothing is
    left of one of the two.
    """
    truth, guess = _checked(observed, predicted)
    depth = np.log1p(np.asarray(total, np.float64))
    depth -= depth.mean()
    terms = np.stack([np.ones_like(depth), depth, depth**2], axis=1)
    left = [table - terms @ np.linalg.lstsq(terms, table, rcond=None)[0] for table in (truth, guess)]
    # What is left of a value that does not vary, or that the total explains completely, is rounding.
    some = [
        (np.ptp(table, axis=0) > 0) & (rest.std(axis=0) > 1e-6 * table.std(axis=0))
        for rest, table in zip(left, (truth, guess), strict=True)
    ]
    partial = np.where(some[0] & some[1], correlation(*left), 0.0)
    return np.where(np.ptp(truth, axis=0) > 0, partial, np.nan)


def _checked(observed: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth, guess = np.asarray(observed, np.float64), np.asarray(predicted, np.float64)
    if truth.shape != guess.shape or truth.ndim != 2:
        raise DataError(f"observed {truth.shape} and predicted {guess.shape} must be tables of the same shape.")
    if len(truth) < 2 or truth.shape[1] < 1:
        raise DataError(f"a table of shape {truth.shape} cannot be scored; it takes at least two regions and one gene.")
    for name, values in (("observed", truth), ("predicted", guess)):
        if not np.isfinite(values).all():
            raise DataError(f"{name}: holds {int((~np.isfinite(values)).sum())} values that are not finite.")
    return truth, guess
