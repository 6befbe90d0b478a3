"""Areas of polygons within the pixels of a grid, from their edges.

Each edge is cut at the lines of the grid. A piece adds to its pixel the area between itself and the pixel's right side,
and to all pixels further right its height. This is the signed accumulation of anti-aliasing rasterisers, in float64
and with exact areas. Only the pixels that an edge touches are stored; the gaps between them are completely inside or
completely outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.grid import Grid
from pixnet.regions.coverage import BATCH, CoverageBuilder, Floats, Ints, batches, counted

_NOISE = 1e-14
"""Share of a pixel below which an entry is a rounding error."""


def add_edges(builder: CoverageBuilder, region: Ints, start_um: Floats, end_um: Floats) -> None:
    """Add the areas of polygons within the pixels of a grid, exact up to rounding.

    Parameters
    ----------
    builder
        Builder that receives the entries. The regions must have higher numbers than those it already has.
    region
        Region of each edge, shape (m,). All edges of a region must be given at once.
    start_um, end_um
        Ends of the edges: x and y in um, each (m, 2). The sum of x dy is positive along outer rings and negative along
        holes.
    """
    grid = builder.grid
    origin = np.array([grid.x_um, grid.y_um])
    start, end = (start_um - origin) / grid.pitch_um, (end_um - origin) / grid.pitch_um
    # Every edge runs from its lower y, whatever region it belongs to, so that neighbours compute the same bits.
    back = (start[:, 1] > end[:, 1]) | ((start[:, 1] == end[:, 1]) & (start[:, 0] > end[:, 0]))
    low, high = np.where(back[:, None], end, start), np.where(back[:, None], start, end)
    sign = np.where(back, 1.0, -1.0)
    near = (high[:, 1] >= 0) & (low[:, 1] <= grid.height)
    edge, low, high = _cut(np.flatnonzero(near), low[near], high[near], axis=1, n_lines=grid.height)
    row = np.floor((low[:, 1] + high[:, 1]) / 2).astype(np.int64)
    inside = (row >= 0) & (row < grid.height)
    edge, low, high, row = edge[inside], low[inside], high[inside], row[inside]
    piece, low, high = _cut(np.arange(len(edge)), low, high, axis=0, n_lines=grid.width)
    edge, row = edge[piece], row[piece]
    # Pieces left or right of the grid go into one extra column on each side.
    middle = (low[:, 0] + high[:, 0]) / 2
    col = np.clip(np.floor(middle), -1, grid.width).astype(np.int64)
    cover = sign[edge] * (high[:, 1] - low[:, 1])
    _add_pixels(builder, region[edge], row, col, cover, cover * (col + 1 - middle))


def tilted_square_coverage(
    points: Callable[[NDArray[np.number], NDArray[np.number]], Floats],
    side_um: float,
    rows: Ints,
    cols: Ints,
    grid: Grid,
) -> sparse.csr_array[np.float64]:
    """Return the areas of n squares of a lattice within the pixels of a grid, (n, grid.size) in um^2.

    The lattice is rotated by any angle and may have a slight perspective: `points` returns the x and y in um, (n, 2),
    of positions (row, col) of it, and actual sides may be a tenth longer than `side_um`.
    """
    builder = CoverageBuilder(len(rows), grid)
    left, top, right, bottom = grid.bounds_um
    center_x, center_y = points(rows + 0.5, cols + 0.5).T
    reach = side_um * 0.8  # half a diagonal, a tenth longer
    across = (center_x > left - reach) & (center_x < right + reach)
    near = np.flatnonzero(across & (center_y > top - reach) & (center_y < bottom + reach))
    pieces = min(8 + 6 * side_um / grid.pitch_um, BATCH)
    for part in batches(np.full(len(near), int(pieces))):
        square = near[part]
        row, col = rows[square], cols[square]
        corners = [points(row + below, col + beside) for below, beside in ((0, 0), (0, 1), (1, 1), (1, 0))]
        start = np.stack(corners, axis=1)
        end = np.roll(start, -1, axis=1)
        add_edges(builder, np.repeat(square, 4), start.reshape(-1, 2), end.reshape(-1, 2))
    return builder.build()


def lattice_points(
    x_um: float, y_um: float, side_um: float, angle_deg: float, row: NDArray[np.number], col: NDArray[np.number]
) -> Floats:
    """Return the x and y in um, (n, 2), of positions of a lattice, which need not be whole numbers.

    The lattice has its corner at (x_um, y_um), is rotated from x towards y, and its pitch is `side_um`.
    """
    angle = math.radians(angle_deg)
    across, down = col.astype(np.float64) * side_um, row.astype(np.float64) * side_um
    x = x_um + (math.cos(angle) * across - math.sin(angle) * down)
    y = y_um + (math.sin(angle) * across + math.cos(angle) * down)
    return np.stack([x, y], axis=1)


def projected(xy: Floats, matrix: Floats) -> Floats:
    """Return points (n, 2) mapped by a 3 x 3 projective matrix."""
    x, y = xy.T
    # Computed term by term, so that a corner has the same bits whatever points it is computed with.
    across, down, depth = (a * x + b * y + c for a, b, c in matrix)
    return np.stack([across / depth, down / depth], axis=1)


def _cut(item: Ints, low: Floats, high: Floats, axis: int, n_lines: int) -> tuple[Ints, Floats, Floats]:
    """Cut segments at the whole numbers 0 to `n_lines` of an axis; return item, start and end of each piece."""
    a, b = low[:, axis], high[:, axis]
    first = np.clip(np.floor(np.minimum(a, b)) + 1, 0, n_lines + 1)
    last = np.clip(np.ceil(np.maximum(a, b)) - 1, -1, n_lines)
    n_cuts = np.maximum(last - first + 1, 0).astype(np.int64)
    segment = np.repeat(np.arange(len(item)), n_cuts + 1)
    piece = counted(n_cuts + 1)
    # The cut that ends each piece but the last of its segment, from the segment's start to its end.
    ends = np.flatnonzero(piece < n_cuts[segment])
    cut = segment[ends]
    line = np.where(a[cut] <= b[cut], first[cut] + piece[ends], last[cut] - piece[ends])
    along = (line - a[cut]) / (b[cut] - a[cut])
    other = 1 - axis
    crossing = low[cut, other] + along * (high[cut, other] - low[cut, other])
    crossing = np.clip(crossing, np.minimum(low, high)[cut, other], np.maximum(low, high)[cut, other])
    starts, stops = low[segment], high[segment]
    stops[ends, axis] = starts[ends + 1, axis] = line
    stops[ends, other] = starts[ends + 1, other] = crossing
    return item[segment], starts, stops


def _add_pixels(builder: CoverageBuilder, region: Ints, row: Ints, col: Ints, cover: Floats, inside: Floats) -> None:
    """Gather pieces by pixel, sum `cover` along each row of each region, and add touched pixels and gaps."""
    if not len(region):
        return
    grid = builder.grid
    first_region, first_row = int(region.min()), int(row.min())
    n_rows, n_cols = int(row.max()) - first_row + 1, grid.width + 2
    key = ((region - first_region) * n_rows + (row - first_row)) * n_cols + (col + 1)
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    key = key[begins]
    cover = np.add.reduceat(cover[order], begins)
    inside = np.add.reduceat(inside[order], begins)

    line, col = np.divmod(key, n_cols)
    col -= 1
    new = np.concatenate([[True], line[1:] != line[:-1]])
    after = np.cumsum(cover)
    before = after - cover
    # Each row of a region starts at zero, whatever rounding errors the rows before it left.
    start = before[np.flatnonzero(new)][np.cumsum(new) - 1]
    share = np.minimum(before - start + inside, 1.0)
    share[share < _NOISE] = 0.0
    count = ((col >= 0) & (col < grid.width)).astype(np.int64)
    gap = np.zeros(len(key), dtype=np.int64)
    gap[:-1] = np.where(new[1:], 0, col[1:] - col[:-1] - 1)
    winding = np.clip(np.rint(after - start), 0.0, 1.0)

    region, row = np.divmod(line, n_rows)
    pixel = (row + first_row) * grid.width + col
    both = np.stack([pixel, pixel + 1], axis=1).ravel()
    counts = np.stack([count, np.where(winding > 0, gap, 0)], axis=1).ravel()
    shares = np.stack([share, winding], axis=1).ravel()
    builder.add_runs(np.repeat(region + first_region, 2), both, counts, shares)
