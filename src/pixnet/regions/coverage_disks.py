"""Areas of disks within the pixels of a grid.

A row of the grid meets a disk in a few boundary pixels, a run of fully covered pixels, and a few boundary pixels again.
Only the boundary pixels need an integral, and there are O(radius / pitch) of them. The part of a pixel within one
quadrant of the disk is a rectangle, a trapezoid and a circular segment. All three are positive, so nothing cancels.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from pixnet.grid import Grid
from pixnet.regions.coverage import BATCH, CoverageBuilder, Floats, Ints, RunIntegrator, batches, counted


def disk_coverage(centers_um: Floats, radii_um: Floats, grid: Grid) -> sparse.csr_array[np.float64]:
    """Return the areas of disks within the pixels of a grid, (n, grid.size) in um^2, exact up to rounding."""
    builder = CoverageBuilder(len(radii_um), grid)
    _add_disks(builder, centers_um, radii_um)
    return builder.build()


def disk_integrals(centers_um: Floats, radii_um: Floats, grid: Grid, values: Floats) -> Floats:
    """Integrate the k maps (grid.height, grid.width, k) over disks, (n, k) in units of the map times um^2."""
    # A disk mirrored along the diagonal is a disk, and the maps then have the axes that the integrator needs.
    mirrored = Grid(grid.y_um, grid.x_um, grid.pitch_um, grid.width, grid.height)
    integrator = RunIntegrator(len(radii_um), mirrored, values)
    _add_disks(integrator, centers_um[:, ::-1], radii_um)
    return integrator.integral


def _add_disks(builder: CoverageBuilder | RunIntegrator, centers_um: Floats, radii_um: Floats) -> None:
    grid = builder.grid
    center_x = (centers_um[:, 0] - grid.x_um) / grid.pitch_um
    center_y = (centers_um[:, 1] - grid.y_um) / grid.pitch_um
    radius = radii_um / grid.pitch_um
    meets = (center_x + radius > 0) & (center_x - radius < grid.width)
    # Rounding may hide a sliver of a row. An extra row costs nothing, because empty entries are left out.
    top = np.clip(np.floor(center_y - radius) - 1, 0, grid.height).astype(np.int64)
    bottom = np.clip(np.ceil(center_y + radius) + 1, 0, grid.height).astype(np.int64)
    n_rows = np.where(meets, bottom - top, 0)
    for part in batches(n_rows, BATCH // 4):
        disk = np.repeat(np.arange(part.start, part.stop), n_rows[part])
        row = top[disk] + counted(n_rows[part])
        _add_strips(builder, disk, row, center_x[disk], center_y[disk], radius[disk])


def _add_strips(
    builder: CoverageBuilder | RunIntegrator, disk: Ints, row: Ints, x: Floats, y: Floats, radius: Floats
) -> None:
    """Add what disks cover of rows of pixels, for many pairs of a disk and a row; x, y and radius are in pixels."""
    width = builder.grid.width
    # Positions are relative to the grid line left of the centre, so numbers are small even far from the origin.
    middle_col, middle_row = np.floor(x), np.floor(y)
    shift = middle_col - x
    low = (middle_row - y) + (row - middle_row)
    high = (middle_row - y) + (row + 1 - middle_row)
    near = np.where((low < 0) & (high > 0), 0.0, np.minimum(np.abs(low), np.abs(high)))
    far = np.maximum(np.abs(low), np.abs(high))
    outer, inner = _half_chord(near, radius), _half_chord(far, radius)

    def column(offset: Floats, lowest: Ints | int, highest: Ints | int) -> Ints:
        return np.clip(offset + middle_col, lowest, highest).astype(np.int64)

    first = column(np.floor(-outer - shift), 0, width)
    last = column(np.ceil(outer - shift), 0, width)
    last = np.where(near < radius, np.maximum(last, first), first)
    whole_first = column(np.ceil(-inner - shift), first, last)
    whole_last = column(np.floor(inner - shift), whole_first, last)

    n_left, n_right = whole_first - first, last - whole_last
    n_runs = n_left + 1 + n_right
    strip = np.repeat(np.arange(len(row)), n_runs)
    # The runs of a strip: single boundary pixels on the left, the fully covered run (number 0), boundary pixels again.
    run = counted(n_runs)
    number = run - n_left[strip]
    col = np.where(number <= 0, first[strip] + run, whole_last[strip] + number - 1)
    count = np.where(number == 0, (whole_last - whole_first)[strip], 1)
    share = np.ones(len(strip))
    edge = np.flatnonzero(number)
    of_edge = strip[edge]
    left = col[edge] - middle_col[of_edge]
    x0, x1 = shift[of_edge] + left, shift[of_edge] + (left + 1)
    share[edge] = _pixel_share(x0, x1, low[of_edge], high[of_edge], radius[of_edge])
    builder.add_runs(disk[strip], row[strip] * width + col, count, share)


def _pixel_share(x0: Floats, x1: Floats, y0: Floats, y1: Floats, radius: Floats) -> Floats:
    """Return the area of rectangles (x0, x1) x (y0, y1) inside a circle around the origin, quadrant by quadrant."""
    total = np.zeros(len(x0))
    for left, right in ((np.maximum(x0, 0), x1), (np.maximum(-x1, 0), -x0)):
        for top, bottom in ((np.maximum(y0, 0), y1), (np.maximum(-y1, 0), -y0)):
            meets = np.flatnonzero((right > left) & (bottom > top))
            total[meets] += _quadrant_area(left[meets], right[meets], top[meets], bottom[meets], radius[meets])
    return total


def _quadrant_area(x0: Floats, x1: Floats, y0: Floats, y1: Floats, radius: Floats) -> Floats:
    """Return the area inside a circle around the origin, for rectangles with 0 <= x0 < x1 and 0 <= y0 < y1."""
    # The circle is above the rectangle up to x = `enter`, crosses it up to x = `leave`, and is below it from there on.
    at_top, at_bottom = _half_chord(y1, radius), _half_chord(y0, radius)
    enter = np.clip(at_top, x0, x1)
    leave = np.clip(at_bottom, x0, x1)
    # Where the circle crosses a horizontal side, its height is that of the side, not the root of a small difference.
    height_in = np.where((at_top > x0) & (y1 < radius), y1, np.minimum(_half_chord(x0, radius), y1))
    height_out = np.where(at_bottom <= x1, y0, np.maximum(_half_chord(x1, radius), y0))
    run, drop = leave - enter, height_in - height_out
    trapezoid = run * ((height_in - y0) + (height_out - y0)) / 2
    return (enter - x0) * (y1 - y0) + np.where(run > 0, trapezoid + _segment(np.hypot(run, drop), radius), 0.0)


def _half_chord(distance: Floats, radius: Floats) -> Floats:
    """Return half the length of the chord at a distance from the centre; 0 outside the circle."""
    result: Floats = np.sqrt(np.maximum((radius - distance) * (radius + distance), 0.0))
    return result


def _segment(chord: Floats, radius: Floats) -> Floats:
    """Return the area between a chord and its arc of at most a quarter circle: radius^2 / 2 * (angle - sin(angle))."""
    angle = 2 * np.arcsin(np.minimum(chord / (2 * radius), 1.0))
    square = angle**2
    # angle - sin(angle) from its power series, whose first ten terms give full precision up to pi / 2.
    series = np.ones_like(square)
    for n in range(20, 2, -2):
        series = 1 - square / (n * (n + 1)) * series
    result: Floats = radius**2 / 2 * (angle * square / 6) * series
    return result
