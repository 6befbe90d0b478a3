"""What a prediction knows beyond its main axes: scores without them, how many there are, and which genes go together.

Genes vary together, so predictions that look different gene by gene may all show the same one or two pictures, such as
how dense the tissue is. A mean correlation over genes does not tell the difference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.expression import RawCounts, correlation

Floats = NDArray[np.float64]

_ROUNDING = 1e-5  # of the largest axis, or of a gene's deviation: what is less may be the rounding of float32
_SPLITS = 20


def without_axes(observed: ArrayLike, predicted: ArrayLike, axes: int) -> tuple[Floats, Floats]:
    """Return what is left of observed and of predicted values, (n, g) each, without the first axes of the predictions.

    The axes are the principal components of the predicted values over regions, genes centred but not scaled. Both
    tables are centred and projected onto what is orthogonal to the first `axes` of them. What is left of a gene that
    these explain completely is exactly zero.
    """
    truth, guess = _centred(observed), _centred(predicted)
    directions, sizes, _ = np.linalg.svd(guess, full_matrices=False)
    used = directions[:, :axes][:, sizes[:axes] > _ROUNDING * max(sizes[0], np.finfo(np.float64).tiny)]
    truth_left, guess_left = (_rest(table, used) for table in (truth, guess))
    return truth_left, guess_left


def correlation_without_axes(observed: ArrayLike, predicted: ArrayLike, axes: int) -> Floats:
    """Return each gene's correlation, (g,), of what `without_axes` leaves; NaN for genes that do not vary."""
    varies = np.ptp(np.asarray(observed), axis=0) > 0
    return np.where(varies, correlation(*without_axes(observed, predicted, axes)), np.nan)


def participation_ratio(values: ArrayLike) -> float:
    """Return on about how many axes values (n, g) vary: (sum of the variances)^2 / sum of their squares.

    The variances are those along the principal components, genes centred but not scaled. 1 if all genes follow one
    picture, k if k axes are equally strong; NaN for values that do not vary.
    """
    centred = _centred(values)
    products = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    return _ratio(float(np.trace(products)), float((products**2).sum()))


def participation_above_noise(counts: ArrayLike, total: ArrayLike, seed: int = 0, splits: int = _SPLITS) -> float:
    """Return the participation ratio of measured log-normalised values without their counting noise.

    Fair coins split the counts, (n, g) of total (n,), into two halves (`RawCounts.halves`). C_ij is the covariance of
    gene i in one half with gene j in the other, in which independent noise has no part. Nor has it in C_ij C_ji, whose
    four factors have independent noise, so that trace(C)^2 / trace(C C) estimates the ratio of the noise-free values
    (trace(C C') would count noise). Both traces are means over splits.

    DataError is raised if the counts are not whole numbers.
    """
    raw, rng = RawCounts.from_counts(counts, total), np.random.default_rng(seed)
    variance = squares = 0.0
    for _ in range(splits):
        first, second = (_centred(half) for half in raw.halves(rng))
        cross = first.T @ second
        variance += float(np.trace(cross)) / splits
        squares += float((cross * cross.T).sum()) / splits
    return _ratio(variance, squares)


def pair_agreement(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Return the correlation over pairs of genes of their predicted with their measured correlation over regions.

    Genes that do not vary where they were measured are left out; one that is predicted constant correlates with no
    other. NaN with fewer than three genes.
    """
    varies = np.ptp(np.asarray(observed), axis=0) > 0
    pairs = np.triu_indices(int(varies.sum()), 1)
    if len(pairs[0]) < 3:
        return float("nan")
    first, second = (_correlations(np.asarray(table)[:, varies])[pairs] for table in (observed, predicted))
    return float(correlation(first[:, None], second[:, None])[0])


def _correlations(values: ArrayLike) -> Floats:
    """Return the correlation of each two genes, (g, g), 0 where one does not vary."""
    centred = _centred(values)
    spread = np.sqrt((centred**2).sum(axis=0)) * (np.ptp(np.asarray(values), axis=0) > 0)
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    return np.asarray(scaled.T @ scaled)


def _rest(centred: Floats, directions: Floats) -> Floats:
    rest = centred - directions @ (directions.T @ centred)
    return np.where(rest.std(axis=0) > _ROUNDING * centred.std(axis=0), rest, 0.0)


def _ratio(variance: float, squares: float) -> float:
    return variance**2 / squares if squares > 0 else float("nan")


def _centred(values: ArrayLike) -> Floats:
    table = np.asarray(values, np.float64)
    return np.asarray(table - table.mean(axis=0))
