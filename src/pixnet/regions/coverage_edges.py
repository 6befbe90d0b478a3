"""Areas of polygons in the cells of a grid, from their edges.

Each edge is cut at the lines of the grid. A piece adds to its cell the area between itself and the cell's right
side, and to all cells further right its height: the signed accumulation of anti-aliasing rasterisers, in float64
and with every area exact. Only cells that an edge touches are stored; the gaps between them are all in or all out.
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
"""Share of a cell below which an entry is rounding."""


def add_edges(builder: CoverageBuilder, region: Ints, start_um: Floats, end_um: Floats) -> None:
    """Add what polygons cover of the grid, exact but for rounding.

    Parameters
    ----------
    builder
        Receives the entries. Regions must be above those it has.
    region
        Region of each edge, (m,). All edges of a region must be here.
    start_um, end_um
        Ends of the edges, (m, 2) x and y in um. Outer rings run with positive sum of x dy, holes against it.
    """
    grid = builder.grid
    origin = np.array([grid.x_um, grid.y_um])
    start, end = (start_um - origin) / grid.pitch_um, (end_um - origin) / grid.pitch_um
    # An edge runs from its lower y, whichever region it belongs to: neighbours then compute the same bits.
    back = (start[:, 1] > end[:, 1]) | ((start[:, 1] == end[:, 1]) & (start[:, 0] > end[:, 0]))
    low, high = np.where(back[:, None], end, start), np.where(back[:, None], start, end)
    sign = np.where(back, 1.0, -1.0)
    kept = (high[:, 1] >= 0) & (low[:, 1] <= grid.height)
    edge, low, high = _cut(np.flatnonzero(kept), low[kept], high[kept], axis=1, n_lines=grid.height)
    row = np.floor((low[:, 1] + high[:, 1]) / 2).astype(np.int64)
    kept = (row >= 0) & (row < grid.height)
    edge, low, high, row = edge[kept], low[kept], high[kept], row[kept]
    piece, low, high = _cut(np.arange(len(edge)), low, high, axis=0, n_lines=grid.width)
    edge, row = edge[piece], row[piece]
    # What lies left or right of the grid is gathered in one column on either side of it.
    middle = (low[:, 0] + high[:, 0]) / 2
    col = np.clip(np.floor(middle), -1, grid.width).astype(np.int64)
    cover = sign[edge] * (high[:, 1] - low[:, 1])
    _add_cells(builder, region[edge], row, col, cover, cover * (col + 1 - middle))


def tilted_square_coverage(
    points: Callable[[NDArray[np.number], NDArray[np.number]], Floats],
    side_um: float,
    rows: Ints,
    cols: Ints,
    grid: Grid,
) -> sparse.csr_array[np.float64]:
    """Areas of the squares of a lattice that is turned by any angle, and perhaps seen with a little perspective.

    Parameters
    ----------
    points
        Gives the (n, 2) x and y in um of places (row, col) of the lattice.
    side_um
        Side of a square, in um; a square's sides may be a tenth longer.
    rows, cols
        Place of each square in the lattice, each (n,).
    grid
        Grid to cover.

    Returns
    -------
    csr_array
        (n, grid.size), in um^2.
    """
    builder = CoverageBuilder(len(rows), grid)
    left, top, right, bottom = grid.bounds_um
    center_x, center_y = points(rows + 0.5, cols + 0.5).T
    reach = side_um * 0.8  # half a diagonal, a tenth longer
    across = (center_x > left - reach) & (center_x < right + reach)
    chosen = np.flatnonzero(across & (center_y > top - reach) & (center_y < bottom + reach))
    pieces = min(8 + 6 * side_um / grid.pitch_um, BATCH)
    for part in batches(np.full(len(chosen), int(pieces))):
        square = chosen[part]
        row, col = rows[square], cols[square]
        corners = [points(row + below, col + beside) for below, beside in ((0, 0), (0, 1), (1, 1), (1, 0))]
        start = np.stack(corners, axis=1)
        end = np.roll(start, -1, axis=1)
        add_edges(builder, np.repeat(square, 4), start.reshape(-1, 2), end.reshape(-1, 2))
    return builder.build()


def lattice_points(
    x_um: float, y_um: float, side_um: float, angle_deg: float, row: NDArray[np.number], col: NDArray[np.number]
) -> Floats:
    """Give the (n, 2) x and y in um of places (row, col), whole or not, of a lattice turned from x towards y."""
    angle = math.radians(angle_deg)
    across, down = col.astype(np.float64) * side_um, row.astype(np.float64) * side_um
    x = x_um + (math.cos(angle) * across - math.sin(angle) * down)
    y = y_um + (math.sin(angle) * across + math.cos(angle) * down)
    return np.stack([x, y], axis=1)


def projected(xy: Floats, matrix: Floats) -> Floats:
    """Give (n, 2) points through a 3 x 3 projective matrix."""
    x, y = xy.T
    # Term by term, so that a corner comes out the same whatever points it is computed with.
    across, down, depth = (a * x + b * y + c for a, b, c in matrix)
    return np.stack([across / depth, down / depth], axis=1)


def _cut(item: Ints, low: Floats, high: Floats, axis: int, n_lines: int) -> tuple[Ints, Floats, Floats]:
    """Cut segments at the whole numbers 0 to `n_lines` of an axis; give item, start and end of each piece."""
    a, b = low[:, axis], high[:, axis]
    first = np.clip(np.floor(np.minimum(a, b)) + 1, 0, n_lines + 1)
    last = np.clip(np.ceil(np.maximum(a, b)) - 1, -1, n_lines)
    n_cuts = np.maximum(last - first + 1, 0).astype(np.int64)
    of = np.repeat(np.arange(len(item)), n_cuts + 1)
    place = counted(n_cuts + 1)
    # The cut that ends each piece but the last of its segment, from the segment's start to its end.
    ends = np.flatnonzero(place < n_cuts[of])
    cut = of[ends]
    line = np.where(a[cut] <= b[cut], first[cut] + place[ends], last[cut] - place[ends])
    along = (line - a[cut]) / (b[cut] - a[cut])
    other = 1 - axis
    at = low[cut, other] + along * (high[cut, other] - low[cut, other])
    at = np.clip(at, np.minimum(low, high)[cut, other], np.maximum(low, high)[cut, other])
    starts, stops = low[of], high[of]
    stops[ends, axis] = starts[ends + 1, axis] = line
    stops[ends, other] = starts[ends + 1, other] = at
    return item[of], starts, stops


def _add_cells(builder: CoverageBuilder, region: Ints, row: Ints, col: Ints, cover: Floats, inside: Floats) -> None:
    """Gather pieces by cell, sum `cover` along each row of each region, and add touched cells and gaps."""
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
    # Each row of a region starts at zero, whatever rounding the rows before it have left.
    start = before[np.flatnonzero(new)][np.cumsum(new) - 1]
    share = np.minimum(before - start + inside, 1.0)
    share[share < _NOISE] = 0.0
    count = ((col >= 0) & (col < grid.width)).astype(np.int64)
    gap = np.zeros(len(key), dtype=np.int64)
    gap[:-1] = np.where(new[1:], 0, col[1:] - col[:-1] - 1)
    winding = np.clip(np.rint(after - start), 0.0, 1.0)

    region, row = np.divmod(line, n_rows)
    cell = (row + first_row) * grid.width + col
    both = np.stack([cell, cell + 1], axis=1).ravel()
    counts = np.stack([count, np.where(winding > 0, gap, 0)], axis=1).ravel()
    shares = np.stack([share, winding], axis=1).ravel()
    builder.add_runs(np.repeat(region + first_region, 2), both, counts, shares)
