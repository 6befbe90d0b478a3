"""Search of the regions that points are in, for each kind of region."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.regions import Disks, LabelMask, Polygons, Regions, Squares
from pixnet.regions.coverage_edges import projected

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Finder = Callable[[Floats], tuple[Ints, Ints]]
"""Takes points in um, shape (k, 2); returns the pairs of point and region where the point is in the region."""

_MANY_POINTS = 200  # vertices from which on a polygon is worth an index of its own


@singledispatch
def finder(regions: Regions) -> Finder:
    """Return a function that finds the regions that points are in. Regions may overlap."""
    raise DataError(
        f"transcripts cannot be counted in {type(regions).__name__}; give disks, squares, labels or polygons."
    )


@finder.register
def _in_squares(squares: Squares) -> Finder:
    low_row, low_col = squares.rows.min(initial=0), squares.cols.min(initial=0)
    n_rows, n_cols = squares.rows.max(initial=0) - low_row + 1, squares.cols.max(initial=0) - low_col + 1
    look_up = _look_up((squares.rows - low_row) * n_cols + squares.cols - low_col)
    cosine, sine = math.cos(math.radians(squares.angle_deg)), math.sin(math.radians(squares.angle_deg))

    back = None if squares.perspective is None else np.linalg.inv(squares.perspective).astype(np.float64)

    def find(xy_um: Floats) -> tuple[Ints, Ints]:
        flat = xy_um if back is None else projected(xy_um, back)
        x, y = (flat - (squares.x_um, squares.y_um)).T
        col = np.floor((cosine * x + sine * y) / squares.side_um) - low_col
        row = np.floor((cosine * y - sine * x) / squares.side_um) - low_row
        near = np.flatnonzero((row >= 0) & (row < n_rows) & (col >= 0) & (col < n_cols))
        point, region = look_up(row[near].astype(np.int64) * n_cols + col[near].astype(np.int64))
        return near[point], region

    return find


@finder.register
def _in_labels(mask: LabelMask) -> Finder:
    height, width = mask.labels.shape
    look_up = _look_up(mask.ids.astype(np.int64))

    def find(xy_um: Floats) -> tuple[Ints, Ints]:
        col, row = np.floor((xy_um - (mask.x_um, mask.y_um)) / mask.pitch_um).T
        near = np.flatnonzero((row >= 0) & (row < height) & (col >= 0) & (col < width))
        label = mask.labels[row[near].astype(np.int64), col[near].astype(np.int64)]
        point, region = look_up(label.astype(np.int64))
        return near[point], region

    return find


def _look_up(keys: Ints) -> Callable[[Ints], tuple[Ints, Ints]]:
    """Return a function that finds all places of values among keys, as pairs of the value's place and the key's."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]

    def find(values: Ints) -> tuple[Ints, Ints]:
        first, end = np.searchsorted(ordered, values), np.searchsorted(ordered, values, side="right")
        count = end - first
        point = np.repeat(np.arange(len(values)), count)
        nth = np.arange(len(point)) - np.repeat(np.cumsum(count) - count, count)
        return point, order[first[point] + nth]

    return find


@finder.register
def _in_disks(disks: Disks) -> Finder:
    from scipy.spatial import cKDTree

    # Disks of about one size are searched together, so that one large disk does not widen the search of all.
    radius = disks.diameters_um / 2
    size = np.round(np.log2(radius))
    groups = [np.flatnonzero(size == value) for value in np.unique(size)]
    trees = [(cKDTree(disks.centers_um[group]), group, radius[group]) for group in groups]

    def find(xy_um: Floats) -> tuple[Ints, Ints]:
        points, regions = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        tree = cKDTree(xy_um)
        for other, group, reach in trees:
            pairs = tree.sparse_distance_matrix(other, float(reach.max()) * (1 + 1e-12), output_type="ndarray")
            pairs = pairs[pairs["v"] <= reach[pairs["j"]]]
            points.append(pairs["i"])
            regions.append(group[pairs["j"]])
        return np.concatenate(points), np.concatenate(regions)

    return find


@finder.register
def _in_polygons(polygons: Polygons) -> Finder:
    import shapely

    shapely.prepare(polygons.shapes[shapely.get_num_coordinates(polygons.shapes) > _MANY_POINTS])
    tree = shapely.STRtree(polygons.shapes)

    def find(xy_um: Floats) -> tuple[Ints, Ints]:
        point, region = tree.query(shapely.points(xy_um))
        within = shapely.intersects_xy(polygons.shapes[region], *xy_um[point].T)
        return point[within], region[within]

    return find
