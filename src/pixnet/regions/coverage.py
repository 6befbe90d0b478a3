"""Areas of regions within the pixels of a grid: common parts, and shapes made of upright squares.

Lengths here are in units of a grid pixel, with the grid's corner as origin. They are converted to um^2 at the very
end. Round and polygonal shapes are in `coverage_disks` and `coverage_edges`.
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
"""Number of items processed at a time, so that the memory needed beyond the result is constant."""


def batches(sizes: Ints, limit: int = BATCH) -> Iterator[slice]:
    """Yield successive slices of items whose sizes add up to at most `limit`; each slice has at least one item."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + limit, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def counted(counts: Ints) -> Ints:
    """Return 0, 1, ... count - 1 for each count, concatenated."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - counts, counts)


class CoverageBuilder:
    """Collects the entries of a coverage matrix, in ascending order of regions and, within a region, of pixels.

    The matrix has a row for each region and a column for each pixel of the grid, row by row.
    """

    def __init__(self, n_regions: int, grid: Grid) -> None:
        self.grid = grid
        self._per_region = np.zeros(n_regions, dtype=np.int64)
        self._pixels: list[NDArray[np.signedinteger]] = []
        self._areas: list[Floats] = []

    def add(self, region: Ints, pixel: Ints, share: Floats) -> None:
        """Add m entries, each with the covered part of the pixel, 0 to 1; leave out those of zero."""
        covered = share > 0
        if not covered.all():
            region, pixel, share = region[covered], pixel[covered], share[covered]
        if not len(region):
            return
        first = int(region[0])
        counts = np.bincount(region - first)
        self._per_region[first : first + len(counts)] += counts
        self._pixels.append(pixel.astype(self._index_type(self.grid.size)))
        self._areas.append(share * self.grid.pixel_area_um2)

    def add_runs(self, region: Ints, pixel: Ints, count: Ints, share: Floats) -> None:
        """Add m runs of `count` neighbouring pixels of a grid row, from `pixel` on, each covered by `share`, 0 to 1."""
        for part in batches(count):
            n = count[part]
            pixels = np.repeat(pixel[part], n) + counted(n)
            self.add(np.repeat(region[part], n), pixels, np.repeat(share[part], n))

    def build(self) -> sparse.csr_array[np.float64]:
        """Return the matrix, regions x pixels, in um^2, and drop the entries."""
        ends = np.concatenate([[0], np.cumsum(self._per_region)])
        index_type = self._index_type(max(self.grid.size, int(ends[-1])))
        pixels = np.concatenate([np.zeros(0, dtype=index_type), *self._pixels])
        self._pixels.clear()
        areas = np.concatenate([np.zeros(0), *self._areas])
        self._areas.clear()
        shape = (len(self._per_region), self.grid.size)
        return sparse.csr_array((areas, pixels.astype(index_type, copy=False), ends.astype(index_type)), shape=shape)

    @staticmethod
    def _index_type(largest: int) -> type[np.int32] | type[np.int64]:
        return np.int32 if largest <= np.iinfo(np.int32).max else np.int64


class RunIntegrator:
    """Integrates maps over regions whose coverage comes as runs along the rows of a grid.

    With the cumulative sums P of each row, a run from pixel a to b with the share s adds s * (P[b] - P[a]). A run
    begins where another ends. So the number of terms for a row of a region is the number of changes of its share, not
    the number of its pixels. The k maps have the shape (grid.width, grid.height, k): the position along a row comes
    first, so that all rows are summed together.
    """

    def __init__(self, n_regions: int, grid: Grid, values: Floats) -> None:
        self.grid = grid
        self.integral: Floats = np.zeros((n_regions, values.shape[2]))
        self._sums = np.empty((grid.width + 1, *values.shape[1:]))
        self._sums[0] = 0
        # Adding one slice at a time takes a quarter of the time of np.cumsum along the axis.
        for before, value, after in zip(self._sums[:-1], values, self._sums[1:], strict=True):
            np.add(before, value, out=after)

    def add_runs(self, region: Ints, pixel: Ints, count: Ints, share: Floats) -> None:
        """Add runs in ascending order of regions and, within a region, of pixels; see `CoverageBuilder.add_runs`."""
        covered = (share > 0) & (count > 0)
        region, pixel, count, share = region[covered], pixel[covered], count[covered], share[covered]
        if not len(region):
            return
        row, col = np.divmod(pixel, self.grid.width)
        start = col * self.grid.height + row
        end = start + count * self.grid.height
        follows = np.zeros(len(region) + 1, bool)
        follows[1:-1] = (region[1:] == region[:-1]) & (start[1:] == end[:-1])
        before = np.where(follows[:-1], np.concatenate([[0.0], share[:-1]]), 0.0)
        position = np.stack([start, end], axis=1)
        change = np.stack([before - share, share], axis=1)
        # Where another run follows, the change at the end of a run is part of the change at the start of the next.
        needed = np.stack([np.ones(len(region), bool), ~follows[1:]], axis=1)
        first = int(region[0])
        per_region = np.bincount(np.repeat(region, 2)[needed.ravel()] - first)
        ends = np.concatenate([[0], np.cumsum(per_region)])
        shape = (len(per_region), self._sums.shape[0] * self._sums.shape[1])
        changes = sparse.csr_array((change[needed], position[needed], ends), shape=shape)
        sums = changes @ self._sums.reshape(shape[1], -1)
        self.integral[first : first + len(per_region)] += sums * self.grid.pixel_area_um2


def lattice_edges(start_um: float, side_um: float, index: Ints, grid_start_um: float, pitch_um: float) -> Floats:
    """Return the positions of a lattice's lines, start + index * side, along an axis of a grid, in grid pixels.

    A line that differs from a line of the grid by rounding alone is moved onto it. Otherwise two lattices that fit each
    other would overlap by slivers of 1e-12 um.
    """
    offset = start_um - grid_start_um
    lines = index * side_um
    position = (offset + lines) / pitch_um
    size = np.maximum(np.maximum(abs(start_um), abs(grid_start_um)), np.abs(lines)) / pitch_um
    nearest = np.rint(position)
    return np.where(np.abs(position - nearest) <= 4 * np.finfo(np.float64).eps * size, nearest, position)


def overlaps(low: Floats, high: Floats, n_pixels: int) -> tuple[Ints, Ints, Ints, Floats]:
    """Return the overlaps of n intervals, given in grid pixels, with the `n_pixels` grid pixels along an axis.

    The first result is the number of grid pixels that each interval overlaps, (n,). The others are, for each pair of an
    interval and a pixel that overlap: index of the interval, index of the pixel, length of the overlap.
    """
    first = np.clip(np.floor(low), 0, n_pixels).astype(np.int64)
    count = np.maximum(np.clip(np.ceil(high), 0, n_pixels).astype(np.int64) - first, 0)
    interval = np.repeat(np.arange(len(low)), count)
    pixel = first[interval] + counted(count)
    length = np.minimum(high[interval], pixel + 1) - np.maximum(low[interval], pixel)
    return count, interval, pixel, length


def square_coverage(
    x_um: float, y_um: float, side_um: float, rows: Ints, cols: Ints, grid: Grid
) -> sparse.csr_array[np.float64]:
    """Return the areas of n upright squares of a lattice within the pixels of a grid, (n, grid.size) in um^2.

    Each area is the product of two overlaps in one dimension.
    """
    row_values, row_of = np.unique(rows, return_inverse=True)
    col_values, col_of = np.unique(cols, return_inverse=True)

    def along(values: Ints, start: float, grid_start: float, n_pixels: int) -> tuple[Ints, Ints, Ints, Floats]:
        low = lattice_edges(start, side_um, values, grid_start, grid.pitch_um)
        high = lattice_edges(start, side_um, values + 1, grid_start, grid.pitch_um)
        count, _, pixel, length = overlaps(low, high, n_pixels)
        return count, np.cumsum(count) - count, pixel, length

    n_down, start_down, grid_row, length_down = along(row_values, y_um, grid.y_um, grid.height)
    n_across, start_across, grid_col, length_across = along(col_values, x_um, grid.x_um, grid.width)
    builder = CoverageBuilder(len(rows), grid)
    sizes = n_down[row_of] * n_across[col_of]
    for part in batches(sizes):
        square = np.repeat(np.arange(part.start, part.stop), sizes[part])
        down, across = np.divmod(counted(sizes[part]), n_across[col_of[square]])
        down += start_down[row_of[square]]
        across += start_across[col_of[square]]
        builder.add(square, grid_row[down] * grid.width + grid_col[across], length_down[down] * length_across[across])
    return builder.build()


def label_coverage(
    labels: NDArray[np.integer], ids: NDArray[np.integer], x_um: float, y_um: float, pitch_um: float, grid: Grid
) -> sparse.csr_array[np.float64]:
    """Return the areas of the labels of a mask within the pixels of a grid, (n, grid.size) in um^2.

    The labels to measure, `ids`, are ascending and without repeats. The mask's pixels are upright squares.
    """
    builder = CoverageBuilder(len(ids), grid)
    if not len(ids):
        return builder.build()
    n_rows, n_cols = labels.shape
    at_y = lattice_edges(y_um, pitch_um, np.arange(n_rows + 1), grid.y_um, grid.pitch_um)
    at_x = lattice_edges(x_um, pitch_um, np.arange(n_cols + 1), grid.x_um, grid.pitch_um)
    _, mask_row, grid_row, height = overlaps(at_y[:-1], at_y[1:], grid.height)
    _, mask_col, grid_col, width = overlaps(at_x[:-1], at_x[1:], grid.width)
    # Both axes are now cut at the lines of the mask and of the grid. A band of complete grid rows has no pixel in
    # common with the next band, so its entries are final.
    strips_per_row = np.bincount(grid_row, minlength=grid.height)
    ends = np.cumsum(strips_per_row)
    regions, pixels, shares = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for band in batches(strips_per_row * len(mask_col)):
        strips = slice(int(ends[band.start - 1]) if band.start else 0, int(ends[band.stop - 1]))
        block = labels[mask_row[strips]][:, mask_col]
        index = np.minimum(np.searchsorted(ids, block), len(ids) - 1)
        strip, piece = np.nonzero(ids[index] == block)
        pixel = (grid_row[strips][strip] - band.start) * grid.width + grid_col[piece]
        n_pixels = (band.stop - band.start) * grid.width
        key, entry = np.unique(index[strip, piece] * n_pixels + pixel, return_inverse=True)
        areas = height[strips][strip] * width[piece]
        region, pixel = np.divmod(key, n_pixels)
        regions.append(region)
        pixels.append(pixel + band.start * grid.width)
        shares.append(np.bincount(entry, weights=areas, minlength=len(key)).astype(np.float64))
    region = np.concatenate(regions)
    order = np.argsort(region, kind="stable")
    builder.add(region[order], np.concatenate(pixels)[order], np.concatenate(shares)[order])
    return builder.build()
