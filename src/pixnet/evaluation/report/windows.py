"""Which part of a map to show, and how to show all of it."""

from __future__ import annotations

import math

import numpy as np

from pixnet.evaluation.report.canvas import Floats, Window


def richest_window(values: Floats, pitch_um: float, side_um: float, within: Window) -> Window:
    """Find the window, of this side at most and within another where it fits, in which a map varies most."""
    left, top, width, height = (round(edge / pitch_um) for edge in within)
    side = max(1, min(round(side_um / pitch_um), *values.shape))
    first_row, first_col = (min(edge, size - side) for edge, size in zip((top, left), values.shape, strict=True))
    last_row, last_col = max(first_row, top + height - side), max(first_col, left + width - side)
    step = max(1, side // 2)
    best, place = -1.0, (first_row, first_col)
    for row in range(first_row, min(last_row, values.shape[0] - side) + 1, step):
        for col in range(first_col, min(last_col, values.shape[1] - side) + 1, step):
            part = values[row : row + side, col : col + side]
            spread = float(part.std()) if np.isfinite(part).all() else -1.0
            if spread > best:
                best, place = spread, (row, col)
    return place[1] * pitch_um, place[0] * pitch_um, side * pitch_um, side * pitch_um


def shrink(values: Floats, most: int) -> Floats:
    """Average a map over blocks of cells, so that no side has more than `most`; a ragged edge is dropped."""
    by = max(1, math.ceil(max(values.shape) / most))
    height, width = (n // by * by for n in values.shape)
    blocks = values[:height, :width].reshape(height // by, by, width // by, by)
    return np.asarray(blocks.mean(axis=(1, 3)))
