"""Areas of regions in the cells of a grid: what all shapes share, and the shapes made of upright squares.

Everything here works in units of cells, with the grid's corner as origin, and becomes um^2 at the very end. Round
and polygonal shapes are in `coverage_disks` and `coverage_edges`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.grid import Grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BATCH = 1 << 20
"""Items worked on at a time, so that the memory needed beyond the result stays constant."""


def batches(sizes: Ints, limit: int = BATCH) -> Iterator[slice]:
    """Cut items of the given sizes into successive slices of at most `limit` in all, and of at least one item."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + limit, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def counted(counts: Ints) -> Ints:
    """Give 0, 1, ... count - 1 for each count, one after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - counts, counts)


class CoverageBuilder:
    """Collects the entries of a coverage matrix, in ascending order of regions and, within one, of cells.

    Parameters
    ----------
    n_regions
        Number of rows of the matrix.
    grid
        Grid whose cells are the columns, row by row.
    """

    def __init__(self, n_regions: int, grid: Grid) -> None:
        self.grid = grid
        self._per_region = np.zeros(n_regions, dtype=np.int64)
        self._cells: list[NDArray[np.signedinteger]] = []
        self._areas: list[Floats] = []

    def add(self, region: Ints, cell: Ints, share: Floats) -> None:
        """Add entries; `share` is the covered part of each cell, 0 to 1. Entries of zero are left out."""
        kept = share > 0
        if not kept.all():
            region, cell, share = region[kept], cell[kept], share[kept]
        if not len(region):
            return
        first = int(region[0])
        counts = np.bincount(region - first)
        self._per_region[first : first + len(counts)] += counts
        self._cells.append(cell.astype(self._index_type(self.grid.size)))
        self._areas.append(share * self.grid.cell_area_um2)

    def add_runs(self, region: Ints, cell: Ints, count: Ints, share: Floats) -> None:
        """Add runs of `count` neighbouring cells of a row, from `cell` on, that are covered alike."""
        for part in batches(count):
            n = count[part]
            cells = np.repeat(cell[part], n) + counted(n)
            self.add(np.repeat(region[part], n), cells, np.repeat(share[part], n))

    def build(self) -> sparse.csr_array[np.float64]:
        """Give the matrix, regions x cells, in um^2, and forget the entries."""
        ends = np.concatenate([[0], np.cumsum(self._per_region)])
        index_type = self._index_type(max(self.grid.size, int(ends[-1])))
        cells = np.concatenate([np.zeros(0, dtype=index_type), *self._cells])
        self._cells.clear()
        areas = np.concatenate([np.zeros(0), *self._areas])
        self._areas.clear()
        shape = (len(self._per_region), self.grid.size)
        return sparse.csr_array((areas, cells.astype(index_type, copy=False), ends.astype(index_type)), shape=shape)

    @staticmethod
    def _index_type(largest: int) -> type[np.int32] | type[np.int64]:
        return np.int32 if largest <= np.iinfo(np.int32).max else np.int64


class RunIntegrator:
    """Integrates maps over regions whose coverage comes as runs along the grid's rows.

    With the running sums P of each row, a run from cell a to b covered by a share s holds s * (P[b] - P[a]). Where one
    run ends another begins, so a row of a region costs as many terms as its share changes, not as many as it has cells.

    Parameters
    ----------
    n_regions
        Number of regions.
    grid
        The grid.
    values
        (grid.width, grid.height, k): place along a row first, so that all rows are summed up together.
    """

    def __init__(self, n_regions: int, grid: Grid, values: Floats) -> None:
        self.grid = grid
        self.integral: Floats = np.zeros((n_regions, values.shape[2]))
        self._sums = np.empty((grid.width + 1, *values.shape[1:]))
        self._sums[0] = 0
        # A slab at a time, which takes a quarter of the time of np.cumsum along the axis.
        for before, value, after in zip(self._sums[:-1], values, self._sums[1:], strict=True):
            np.add(before, value, out=after)

    def add_runs(self, region: Ints, cell: Ints, count: Ints, share: Floats) -> None:
        """Add runs as `CoverageBuilder.add_runs` does: in ascending order of regions and, within one, of cells."""
        kept = (share > 0) & (count > 0)
        region, cell, count, share = region[kept], cell[kept], count[kept], share[kept]
        if not len(region):
            return
        row, col = np.divmod(cell, self.grid.width)
        start = col * self.grid.height + row
        end = start + count * self.grid.height
        follows = np.zeros(len(region) + 1, bool)
        follows[1:-1] = (region[1:] == region[:-1]) & (start[1:] == end[:-1])
        before = np.where(follows[:-1], np.concatenate([[0.0], share[:-1]]), 0.0)
        place = np.stack([start, end], axis=1)
        change = np.stack([before - share, share], axis=1)
        # The end of a run that another follows is told of at the start of that one.
        told = np.stack([np.ones(len(region), bool), ~follows[1:]], axis=1)
        first = int(region[0])
        per_region = np.bincount(np.repeat(region, 2)[told.ravel()] - first)
        ends = np.concatenate([[0], np.cumsum(per_region)])
        shape = (len(per_region), self._sums.shape[0] * self._sums.shape[1])
        changes = sparse.csr_array((change[told], place[told], ends), shape=shape)
        found = changes @ self._sums.reshape(shape[1], -1)
        self.integral[first : first + len(per_region)] += found * self.grid.cell_area_um2


def lattice_edges(start_um: float, side_um: float, index: Ints, grid_start_um: float, pitch_um: float) -> Floats:
    """Give where the lines of one lattice, start + index * side, lie along a grid's axis, in cells.

    A line that only rounding keeps from a line of the grid is put on it; otherwise two lattices that fit would
    share slivers of 1e-12 um.
    """
    offset = start_um - grid_start_um
    lines = index * side_um
    at = (offset + lines) / pitch_um
    size = np.maximum(np.maximum(abs(start_um), abs(grid_start_um)), np.abs(lines)) / pitch_um
    nearest = np.rint(at)
    return np.where(np.abs(at - nearest) <= 4 * np.finfo(np.float64).eps * size, nearest, at)


def overlaps(low: Floats, high: Floats, n_cells: int) -> tuple[Ints, Ints, Ints, Floats]:
    """Overlap intervals with the unit cells 0 to `n_cells` of an axis.

    Parameters
    ----------
    low, high
        Ends of the intervals, in cells, each (n,).
    n_cells
        Number of cells.

    Returns
    -------
    tuple of arrays
        Cells met by each interval (n,); then, for each pair of an interval and a cell it meets: the interval, the
        cell, and the length that they share.
    """
    first = np.clip(np.floor(low), 0, n_cells).astype(np.int64)
    count = np.maximum(np.clip(np.ceil(high), 0, n_cells).astype(np.int64) - first, 0)
    item = np.repeat(np.arange(len(low)), count)
    cell = first[item] + counted(count)
    length = np.minimum(high[item], cell + 1) - np.maximum(low[item], cell)
    return count, item, cell, length


def square_coverage(
    x_um: float, y_um: float, side_um: float, rows: Ints, cols: Ints, grid: Grid
) -> sparse.csr_array[np.float64]:
    """Areas of upright squares of a lattice: the product of two overlaps in one dimension.

    Parameters
    ----------
    x_um, y_um
        Corner of the lattice, in um.
    side_um
        Side of a square, in um.
    rows, cols
        Place of each square in the lattice, each (n,).
    grid
        Grid to cover.

    Returns
    -------
    csr_array
        (n, grid.size), in um^2.
    """
    row_values, row_of = np.unique(rows, return_inverse=True)
    col_values, col_of = np.unique(cols, return_inverse=True)

    def along(values: Ints, start: float, grid_start: float, n_cells: int) -> tuple[Ints, Ints, Ints, Floats]:
        low = lattice_edges(start, side_um, values, grid_start, grid.pitch_um)
        high = lattice_edges(start, side_um, values + 1, grid_start, grid.pitch_um)
        count, _, cell, length = overlaps(low, high, n_cells)
        return count, np.cumsum(count) - count, cell, length

    n_down, start_down, cell_down, length_down = along(row_values, y_um, grid.y_um, grid.height)
    n_across, start_across, cell_across, length_across = along(col_values, x_um, grid.x_um, grid.width)
    builder = CoverageBuilder(len(rows), grid)
    sizes = n_down[row_of] * n_across[col_of]
    for part in batches(sizes):
        item = np.repeat(np.arange(part.start, part.stop), sizes[part])
        wide = n_across[col_of[item]]
        place = counted(sizes[part])
        down, across = np.divmod(place, wide)
        down += start_down[row_of[item]]
        across += start_across[col_of[item]]
        builder.add(item, cell_down[down] * grid.width + cell_across[across], length_down[down] * length_across[across])
    return builder.build()


def label_coverage(
    labels: NDArray[np.integer], ids: NDArray[np.integer], x_um: float, y_um: float, pitch_um: float, grid: Grid
) -> sparse.csr_array[np.float64]:
    """Areas of the labels of a mask whose pixels are upright squares.

    Parameters
    ----------
    labels
        (h, w) integers.
    ids
        Labels to measure, ascending and without repeats, (n,).
    x_um, y_um
        Corner of the mask, in um.
    pitch_um
        Side of its pixels, in um.
    grid
        Grid to cover.

    Returns
    -------
    csr_array
        (n, grid.size), in um^2.
    """
    builder = CoverageBuilder(len(ids), grid)
    if not len(ids):
        return builder.build()
    n_rows, n_cols = labels.shape
    at_y = lattice_edges(y_um, pitch_um, np.arange(n_rows + 1), grid.y_um, grid.pitch_um)
    at_x = lattice_edges(x_um, pitch_um, np.arange(n_cols + 1), grid.x_um, grid.pitch_um)
    _, pixel_row, cell_row, height = overlaps(at_y[:-1], at_y[1:], grid.height)
    _, pixel_col, cell_col, width = overlaps(at_x[:-1], at_x[1:], grid.width)
    # Both axes are now cut at the lines of mask and grid alike. A band of whole grid rows shares no cell with the
    # next band, so its entries are final.
    per_row = np.bincount(cell_row, minlength=grid.height) * len(pixel_col)
    ends = np.cumsum(np.bincount(cell_row, minlength=grid.height))
    found: list[tuple[Ints, Ints, Floats]] = []
    for band in batches(per_row):
        strips = slice(int(ends[band.start - 1]) if band.start else 0, int(ends[band.stop - 1]))
        block = labels[pixel_row[strips]][:, pixel_col]
        place = np.minimum(np.searchsorted(ids, block), len(ids) - 1)
        strip, piece = np.nonzero(ids[place] == block)
        cell = (cell_row[strips][strip] - band.start) * grid.width + cell_col[piece]
        n_cells = (band.stop - band.start) * grid.width
        key, where = np.unique(place[strip, piece] * n_cells + cell, return_inverse=True)
        areas = height[strips][strip] * width[piece]
        share: Floats = np.bincount(where, weights=areas, minlength=len(key)).astype(np.float64)
        region, cell = np.divmod(key, n_cells)
        found.append((region, cell + band.start * grid.width, share))
    region = np.concatenate([np.zeros(0, dtype=np.int64), *(entry[0] for entry in found)])
    order = np.argsort(region, kind="stable")
    cell = np.concatenate([np.zeros(0, dtype=np.int64), *(entry[1] for entry in found)])[order]
    shares = np.concatenate([np.zeros(0), *(entry[2] for entry in found)])[order]
    builder.add(region[order], cell, shares)
    return builder.build()
