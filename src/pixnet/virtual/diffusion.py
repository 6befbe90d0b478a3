"""Lateral diffusion: RNA that is captured beside the cell that it came from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.grid import Grid
from pixnet.regions import Regions

# Pixels under the blurred regions that are processed at once; limits the memory to about 200 MB.
_AT_ONCE = 3_000_000


def diffused_areas(
    regions: Regions, grid: Grid, labels: NDArray[np.int32], owners: int, spread_um: float
) -> sparse.csr_array:
    """Return how much of each owner's area ends up in each of n regions, shape (n, owners) in um^2.

    `labels` are the owners of the pixels of a grid of 1 um, shape (rows, columns), and `spread_um` is the standard
    deviation of the diffusion, 0 for none. The regions are blurred instead of the map of every gene. That gives the
    same counts, because the Gaussian is symmetric, and it is done once for all genes. The edge of the tissue reflects,
    so nothing is lost there.
    """
    height, width = labels.shape
    down, across = _blur(height, spread_um), _blur(width, spread_um)
    bounds = regions.bounds_um
    sides = np.minimum(bounds[:, 2:] - bounds[:, :2] + 8 * spread_um + 2, (width, height))
    chunk = max(1, int(_AT_ONCE / max(1.0, float(sides.prod(axis=1).max(initial=1.0)))))
    parts = []
    for start in range(0, len(regions), chunk):
        part = regions.take(np.arange(start, min(start + chunk, len(regions))))
        rows, pixels, weights = _blurred(part.coverage(grid), down, across)
        parts.append(sparse.csr_array((weights, (rows, labels.ravel()[pixels])), shape=(len(part), owners)))
    return sparse.csr_array(sparse.vstack(parts, format="csr")) if parts else sparse.csr_array((0, owners))


def _blur(size: int, spread: float) -> sparse.csr_array:
    """Return the matrix of a one-dimensional Gaussian blur with reflecting ends, (size, size)."""
    reach = int(np.ceil(4 * spread))
    offset = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (offset / spread) ** 2) if spread > 0 else np.ones(1)
    weight /= weight.sum()
    target = (np.arange(size)[:, None] + offset) % (2 * size)
    target = np.where(target >= size, 2 * size - 1 - target, target)
    source = np.repeat(np.arange(size), offset.size)
    return sparse.csr_array((np.tile(weight, size), (source, target.ravel())), shape=(size, size))


def _blurred(
    coverage: sparse.csr_array, down: sparse.csr_array, across: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Blur coverages, first along x and then along y; return region, pixel and area of every entry."""
    height, width = down.shape[0], across.shape[0]
    coverage.sort_indices()
    region = np.repeat(np.arange(coverage.shape[0]), np.diff(coverage.indptr))
    y, x = np.divmod(coverage.indices.astype(np.int64), width)
    # One sparse row for each line of pixels of each region.
    line = region * height + y
    starts = np.flatnonzero(np.diff(line, prepend=-1))
    shape = (starts.size, width)
    lines = sparse.csr_array((coverage.data, x, np.append(starts, line.size)), shape=shape) @ across
    # Each line spreads over the lines above and below it, of the same region.
    line = line[starts]
    taps = down[line % height]
    target = np.repeat(line - line % height, np.diff(taps.indptr)) + taps.indices
    target, place = np.unique(target, return_inverse=True)
    source = np.repeat(np.arange(starts.size), np.diff(taps.indptr))
    spread = sparse.csr_array((taps.data, (place, source)), shape=(target.size, starts.size))
    result = (spread @ lines).tocoo()
    row, col = result.coords
    line = target[row]
    return line // height, (line % height) * width + col, result.data
