"""Tell polygons that cross themselves too often to be repaired."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

_MOST_MEETINGS = 250_000  # pairs of edges: some seconds and 0.2 GB
_EDGES = 256  # compared at once


def is_tangled(shape: Polygon | MultiPolygon) -> bool:
    """Return whether so many edges may cross that a repair would take any amount of memory and time.

    A repair takes both for each crossing, of which n edges can have n^2 / 2. Edges are compared by their bounds.
    """
    points, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(shape)), return_index=True)
    edge = np.flatnonzero(ring[1:] == ring[:-1])
    edges = shapely.linestrings(np.stack([points[edge], points[edge + 1]], axis=1))
    tree, meetings = shapely.STRtree(edges), 0
    for start in range(0, len(edges), _EDGES):
        some = edges[start : start + _EDGES]
        meetings += tree.query(some).shape[1] - 3 * len(some)  # each meets itself and its two neighbours
        if meetings > _MOST_MEETINGS:
            return True
    return False
