"""Spatial error: whether neighbouring regions are wrong in the same direction."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from pixnet.errors import DataError

NEIGHBOURS = 6


def neighbour_weights(centers_um: ArrayLike, owner: ArrayLike, neighbours: int = NEIGHBOURS) -> sparse.csr_array:
    """Return each region's nearest neighbours in its own sample, with equal weights that sum to one, (n, n).

    In a sample with fewer others than `neighbours`, all of them; a region that is alone has none. `owner` (n,) is the
    sample of each region.
    """
    points, samples = np.asarray(centers_um, np.float64), np.asarray(owner)
    rows, columns, weights = [], [], []
    for sample in np.unique(samples):
        own = np.flatnonzero(samples == sample)
        count = min(neighbours, len(own) - 1)
        if count < 1:
            continue
        # One more than wanted: a region is its own nearest, though not always the first of several at one place.
        found = np.atleast_2d(cKDTree(points[own]).query(points[own], count + 1)[1])
        itself = found == np.arange(len(own))[:, None]
        itself[~itself.any(axis=1), -1] = True
        rows.append(np.repeat(own, count))
        columns.append(own[found[~itself]])
        weights.append(np.full(len(own) * count, 1.0 / count))
    if not rows:
        return sparse.csr_array((len(points), len(points)), dtype=np.float64)
    place = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_array((np.concatenate(weights), place), shape=(len(points), len(points)))


def morans_i(values: ArrayLike, weights: sparse.csr_array) -> NDArray[np.float64]:
    """Return Moran's I (Moran 1950) of each column of values (n, g): 1 if neighbours are equal, about 0 if unrelated.

    I = n / S0 * sum_ij w_ij z_i z_j / sum_i z_i^2, z the deviations from the mean, S0 the sum of all weights. NaN for a
    column that does not vary, or where no region has a neighbour.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or weights.shape != (len(table), len(table)):
        raise DataError(f"values of shape {table.shape} do not fit weights of shape {weights.shape}.")
    deviation = table - table.mean(axis=0)
    squares, total = (deviation**2).sum(axis=0), float(weights.sum())
    varies = (np.ptp(table, axis=0) > 0) & (squares > 0)
    if total <= 0:
        return np.full(table.shape[1], np.nan)
    similar = (deviation * (weights @ deviation)).sum(axis=0)
    moran = np.divide(len(table) / total * similar, squares, out=np.full(table.shape[1], np.nan), where=varies)
    return np.asarray(moran)
