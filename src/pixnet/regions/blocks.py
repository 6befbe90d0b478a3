"""Spatial blocks: a slide's regions cut into rectangles of about equal numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rectangle = tuple[float, float, float, float]
"""Left, top, right and bottom, in um; the right and the bottom edge belong to the next one."""


def cut_blocks(centers_um: ArrayLike, number: int, extent: Rectangle) -> list[Rectangle]:
    """Cut a rectangle that holds all points (n, 2) into rectangles that hold about equally many of them and fill it.

    Each is cut across the longer side of what it holds, midway between two points, until there are enough. Points that
    share a coordinate are never separated, so there may be fewer blocks than `number`.
    """
    points = np.asarray(centers_um, np.float64)
    if number <= 1 or len(points) < 2:
        return [extent]
    first = number // 2
    for axis in np.argsort(-np.ptp(points, axis=0), kind="stable"):
        at = _cut(points[:, axis], first / number)
        if at is not None:
            below = points[:, axis] < at
            low, high = list(extent), list(extent)
            low[axis + 2], high[axis] = at, at
            return [
                *cut_blocks(points[below], first, (low[0], low[1], low[2], low[3])),
                *cut_blocks(points[~below], number - first, (high[0], high[1], high[2], high[3])),
            ]
    return [extent]


def inside(centers_um: ArrayLike, rectangle: Rectangle) -> NDArray[np.bool_]:
    """Return which points (n, 2) are in a rectangle."""
    x, y = np.asarray(centers_um, np.float64).T
    left, top, right, bottom = rectangle
    return np.asarray((x >= left) & (x < right) & (y >= top) & (y < bottom))


def distance(centers_um: ArrayLike, rectangle: Rectangle) -> NDArray[np.float64]:
    """Return the distances of points (n, 2) from a rectangle, in um; 0 inside."""
    points = np.asarray(centers_um, np.float64)
    low, high = np.array(rectangle[:2]), np.array(rectangle[2:])
    return np.asarray(np.hypot(*np.maximum(np.maximum(low - points, points - high), 0.0).T))


def block_of(centers_um: ArrayLike, number: int) -> NDArray[np.int64]:
    """Return the number of the block of each of the points (n, 2), counted from 0."""
    points = np.asarray(centers_um, np.float64)
    low, high = points.min(axis=0) - 1.0, points.max(axis=0) + 1.0
    block = np.zeros(len(points), np.int64)
    for index, rectangle in enumerate(cut_blocks(points, number, (low[0], low[1], high[0], high[1]))):
        block[inside(points, rectangle)] = index
    return block


def _cut(values: NDArray[np.float64], share: float) -> float | None:
    """Return the place between two different values that leaves nearest to a share of them below it."""
    ordered = np.sort(values)
    steps = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1
    if not len(steps):
        return None
    at = steps[np.argmin(np.abs(steps - share * len(values)))]
    middle = (ordered[at - 1] + ordered[at]) / 2.0
    # Between neighbouring floats the middle may be the lower one.
    return float(middle if middle > ordered[at - 1] else ordered[at])
