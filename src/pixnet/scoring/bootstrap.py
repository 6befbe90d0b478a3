"""Intervals and paired tests by redrawing what was measured together: spatial blocks, and donors.

Neighbouring regions are similar, so redrawing them one by one would count them as more evidence than they are. Here
blocks of neighbours are redrawn within each sample (Efron's bootstrap, in blocks as for any dependent data), and, where
there are several donors, donors first. All methods are scored on the same draws, so that their difference can be tested
in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from pixnet.regions.blocks import block_of

Floats = NDArray[np.float64]

SUMMARIES = ("pcc_f", "pcc_s", "pcc_m")
"""Scores that are redrawn: first quartile, median and mean over genes of the correlation."""

RESAMPLES = 1000
FEWEST_BLOCKS, MOST_BLOCKS = 8, 64
_FEWEST_DONORS = 3
_FEWEST_FOLDS = 6  # below it Wilcoxon's test cannot reach p = 0.05
_AT_ONCE = 100
_LEVEL = 0.95
_MOST_MISSING = 0.05  # of the draws


@dataclass(frozen=True)
class Scored:
    """The scored regions of one fold.

    Attributes
    ----------
    truth
        (n, g).
    predicted
        By method, one (n, g) table for each seed.
    centers_um
        (n, 2).
    owner
        (n,) which sample a region is of, counted from 0.
    donors
        Of each of these samples; None: unknown, counted as a donor of its own.
    """

    truth: NDArray[np.floating]
    predicted: Mapping[str, Sequence[NDArray[np.floating]]]
    centers_um: Floats
    owner: NDArray[np.integer]
    donors: Sequence[str | None]


def number_of_blocks(regions: int) -> int:
    """Return how many blocks a sample is redrawn in: about as many as regions in each, from 8 to 64."""
    return max(min(round(math.sqrt(regions)), MOST_BLOCKS), min(regions, FEWEST_BLOCKS))


def redrawn_scores(
    folds: Sequence[Scored], over_donors: bool = False, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Floats]]:
    """Return PCC@F, PCC@S and PCC@M in redrawn data, means over folds and seeds.

    Parameters
    ----------
    folds
        What was scored.
    over_donors
        Redraw donors first, and then blocks within their samples; a fold counts as often as its donors are drawn.
    resamples, seed
        Number of draws, and their seed.

    Returns
    -------
    dict
        By method, then `SUMMARIES` by name, (resamples,); NaN where no gene varied in a fold.
    """
    rng = np.random.default_rng(seed)
    sums = [_FoldSums(fold) for fold in folds]
    names = sorted({name for fold in sums for name in fold.donors})
    parts: dict[str, list[Floats]] = {method: [] for method in folds[0].predicted}
    for start in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - start)
        drawn = np.ones((count, len(names)))
        if over_donors:
            drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=count).astype(np.float64)
        times = dict(zip(names, drawn.T, strict=True))
        total, weights = {method: np.zeros((len(SUMMARIES), count)) for method in parts}, np.zeros(count)
        for fold in sums:
            draw, weight = fold.draw(rng, times, count)
            weights += weight
            for method, score in fold.scores(draw).items():
                total[method] += np.where(weight > 0, weight * np.nan_to_num(score, nan=0.0), 0.0)
                total[method][(weight > 0) & np.isnan(score)] = np.nan
        for method, part in parts.items():
            part.append(total[method] / weights)
    redrawn = {method: np.concatenate(part, axis=1) for method, part in parts.items()}
    return {method: dict(zip(SUMMARIES, table, strict=True)) for method, table in redrawn.items()}


def interval(redrawn: Floats, score: float) -> tuple[float, float]:
    """Return the middle 95 % of redrawn scores, moved so that their median is the score.

    Redrawing leaves out some blocks and repeats others, which by itself moves a score: the correlations of single genes
    become noisier, so a quartile of them falls. The spread of the draws is kept, their location is not. So the interval
    is one of the score at this number of regions; what noise has already taken from it is not put back. Both ends are
    NaN if more than a twentieth of the draws are: the rest would be a choice.
    """
    centred = _centred_draws(redrawn, score)
    if not len(centred):
        return math.nan, math.nan
    low, high = np.quantile(centred, [(1.0 - _LEVEL) / 2.0, (1.0 + _LEVEL) / 2.0])
    return float(low), float(high)


def intervals(
    folds: Sequence[Scored], seed: int = 0
) -> tuple[dict[str, dict[str, Floats]], dict[str, dict[str, Floats]] | None]:
    """Return the scores redrawn over blocks, and over donors where there are three or more."""
    donors = {donor for fold in folds for donor in fold.donors}
    known = None not in donors and len(donors) >= _FEWEST_DONORS
    return redrawn_scores(folds, seed=seed), redrawn_scores(folds, True, seed=seed) if known else None


def paired_test(difference: float, redrawn: Floats, of_folds: Floats) -> dict[str, Any]:
    """Test whether one method is better than another.

    Parameters
    ----------
    difference
        Of their PCC@M.
    redrawn
        The same difference in redrawn data, both methods on the same draws.
    of_folds
        The difference in each fold, mean over seeds.

    Returns
    -------
    dict
        `difference`, its `interval`, `p_bootstrap` (two-sided: twice the share of the same draws, moved as for the
        interval, on the other side of zero), `folds_better` of `folds`, and `p_sign` and `p_wilcoxon` over folds, where
        there are six or more (else None).
    """
    centred = _centred_draws(redrawn, difference)
    p = math.nan
    if len(centred):
        tail = min(int((centred <= 0).sum()), int((centred >= 0).sum()))
        p = min(1.0, 2.0 * (tail + 1) / (len(centred) + 1))
    folds, better = of_folds[of_folds != 0], int((of_folds > 0).sum())
    enough = len(folds) >= _FEWEST_FOLDS and bool(np.isfinite(folds).all())
    return {
        "difference": difference,
        "interval": list(interval(redrawn, difference)),
        "p_bootstrap": p,
        "folds_better": better,
        "folds": len(of_folds),
        "p_sign": float(stats.binomtest(better, len(folds)).pvalue) if enough else None,
        "p_wilcoxon": float(stats.wilcoxon(folds).pvalue) if enough else None,
    }


def _centred_draws(redrawn: Floats, score: float) -> Floats:
    """Return the finite draws, moved so that their median is the score; none if too many are NaN."""
    finite = redrawn[np.isfinite(redrawn)]
    if len(finite) < (1.0 - _MOST_MISSING) * len(redrawn) or not len(finite) or not math.isfinite(score):
        return np.zeros(0)
    return np.asarray(finite - np.median(finite) + score)


class _FoldSums:
    """Sums over each block of a fold, from which any redrawn correlation follows."""

    def __init__(self, fold: Scored) -> None:
        block = np.zeros(len(fold.truth), np.int64)
        owners: list[int] = []
        for sample in np.unique(fold.owner):
            own = np.flatnonzero(fold.owner == sample)
            found = np.unique(block_of(fold.centers_um[own], number_of_blocks(len(own))), return_inverse=True)[1]
            block[own] = len(owners) + found
            owners += [int(sample)] * (int(found.max()) + 1)
        shape = (len(owners), len(block))
        adding = sparse.csr_array((np.ones(len(block)), (block, np.arange(len(block)))), shape=shape)

        def added(table: Floats) -> Floats:
            return np.asarray(adding @ table)

        # The mean is subtracted first: sums of squares of large numbers would lose the digits of a small variance.
        truth = _centred(fold.truth)
        centred = {method: [_centred(table) for table in tables] for method, tables in fold.predicted.items()}
        self.sample = np.array(owners)  # of each block
        self.donors = [donor or f"unknown {number}" for number, donor in enumerate(fold.donors)]
        self._count = np.bincount(block, minlength=len(owners)).astype(np.float64)
        self._truth = added(truth), added(truth**2), _rounding(truth)
        self._predicted = {
            method: [(added(p), added(p**2), added(truth * p), _rounding(p)) for p in tables]
            for method, tables in centred.items()
        }

    def draw(self, rng: np.random.Generator, times: Mapping[str, Floats], draws: int) -> tuple[Floats, Floats]:
        """Redraw the blocks of each sample: how often each comes, (draws, blocks), and the fold's weight, (draws,)."""
        drawn = np.zeros((draws, len(self.sample)))
        weight = np.zeros(draws)
        present = np.unique(self.sample)
        for sample in present:
            own = self.sample == sample
            blocks = int(own.sum())
            often = times[self.donors[sample]]
            drawn[:, own] = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=draws) * often[:, None]
            weight += often / len(present)
        return drawn, weight

    def scores(self, draw: Floats) -> dict[str, Floats]:
        """Return each method's `SUMMARIES` for each draw, (3, draws), averaged over seeds."""
        size = np.maximum(draw @ self._count, 1.0)[:, None]
        mean, squares = (draw @ part / size for part in self._truth[:2])
        variance = squares - mean**2
        varies = variance > self._truth[2]
        result = {}
        for method, seeds in self._predicted.items():
            parts = []
            for *sums, floor in seeds:
                mean_p, squares_p, products = (draw @ part / size for part in sums)
                variance_p = squares_p - mean_p**2
                norm = np.sqrt(np.maximum(variance * variance_p, 0.0))
                both = varies & (variance_p > floor) & (norm > 0)
                r = np.divide(products - mean * mean_p, norm, out=np.zeros_like(norm), where=both)
                parts.append(_summaries(r, varies))
            result[method] = np.mean(parts, axis=0)
        return result


def _summaries(r: Floats, varies: NDArray[np.bool_]) -> Floats:
    """Return first quartile, median and mean of each row over the genes that vary, (3, draws)."""
    genes = varies.sum(axis=1)
    last = np.maximum(genes - 1, 0)
    ordered = np.sort(np.where(varies, r, np.inf), axis=1)  # those that do not vary come last
    rows, result = np.arange(len(r)), np.empty((3, len(r)))
    for place, share in enumerate((0.25, 0.5)):
        below = np.floor(share * last).astype(np.int64)
        low, high = ordered[rows, below], ordered[rows, np.minimum(below + 1, last)]
        with np.errstate(invalid="ignore"):
            result[place] = low + (share * last - below) * (high - low)
    result[2] = np.where(varies, r, 0.0).sum(axis=1) / np.maximum(genes, 1)
    return np.where(genes > 0, result, np.nan)


def _centred(table: NDArray[np.floating]) -> Floats:
    values = np.asarray(table, np.float64)
    return np.asarray(values - values.mean(axis=0))


def _rounding(centred: Floats) -> Floats:
    """Return the variance up to which what is left after all else has cancelled is rounding."""
    return np.asarray(1e-12 * (centred**2).mean(axis=0))
