"""Resample the pixels of a pyramid level to the pixels of a lattice of any resolution.

An output pixel is the area average of the source pixels under it (a box filter). When enlarging, the box is one source
pixel wide, which is linear interpolation between source pixels. The weights of an output pixel depend on its absolute
index alone, and they are applied with elementwise operations in a fixed order. So two reads of overlapping boxes give
identical bytes in the overlap, wherever the boxes begin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SNAP = 1e-9  # ratios and phases this close to a whole number are whole
_FULL = 1.0 - 1e-5  # a sum of float32 weights from here on is one
_HALF = 0.5 - 1e-5
_STRIP_BYTES = 4 << 20  # a strip of the vertical pass fits the processor's cache
WHITE = 255


@dataclass(frozen=True)
class Taps:
    """Source pixels of n output pixels along one axis, and their weights."""

    first: NDArray[np.int64]  # index of the first source pixel of each output pixel, shape (n,)
    weights: NDArray[np.float32]  # of the source pixels `first`, `first + 1`, ..., shape (taps, n); they sum to one

    @property
    def window(self) -> tuple[int, int]:
        """First and end index of the source pixels that are needed."""
        return int(self.first[0]), int(self.first[-1]) + len(self.weights)


def snapped(value: float) -> float:
    """Return the nearest whole number if `value` differs from it by rounding alone, else `value`."""
    nearest = round(value)
    return float(nearest) if abs(value - nearest) <= _SNAP * max(1.0, abs(value)) else value


def axis_taps(start: int, length: int, ratio: float, phase: float = 0.0) -> Taps:
    """Compute the taps of the output pixels `start` to `start + length` along one axis.

    Parameters
    ----------
    ratio
        Side of an output pixel, in source pixels; it alone decides the number of taps.
    phase
        Position of output pixel 0, in output pixels.
    """
    width = max(ratio, 1.0)
    centre = (np.arange(start, start + length, dtype=np.float64) + (phase + 0.5)) * ratio
    left = centre - width / 2
    first = np.floor(left + _SNAP).astype(np.int64)
    right = left + width
    count = math.ceil(width - _SNAP) + 1
    weights = np.empty((count, length), np.float64)
    for tap in range(count):
        edge = first + tap
        weights[tap] = np.maximum(np.minimum(right, edge + 1) - np.maximum(left, edge), 0.0)
    # Without this, rounding errors in the weights of pixels that are only touched would cost a pass over all pixels.
    weights[weights < 1e-7] = 0.0
    weights /= width
    return Taps(first, weights.astype(np.float32))


def resample(
    rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None, rows: Taps, cols: Taps
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Average the pixels (h, w, 3) of the source window `rows.window` x `cols.window` to output pixels (H, W, 3).

    The mask (h, w) is that of source pixels with data; None if all have data. The returned mask (H, W) is that of valid
    pixels. A pixel is valid if at least half of its area holds data, and is then the average of that data; otherwise it
    is white.
    """
    height, width = rows.weights.shape[1], cols.weights.shape[1]
    out = np.empty((height, width, 3), np.uint8)
    valid = np.ones((height, width), bool)
    weighted = None
    if mask is not None and not mask.all():
        weighted = mask.astype(np.float32)
        rgb = np.where(mask[..., None], rgb, np.uint8(0))
    row_index = rows.first - rows.window[0]
    col_index = cols.first - cols.window[0]
    step = max(1, _STRIP_BYTES // (12 * max(1, rgb.shape[1])))
    for top in range(0, height, step):
        part = slice(top, min(top + step, height))
        strip = _average(rgb, row_index[part], rows.weights[:, part], col_index, cols.weights)
        if weighted is not None:
            area = _average(weighted[..., None], row_index[part], rows.weights[:, part], col_index, cols.weights)
            np.divide(strip, area, out=strip, where=(area > 0) & (area < _FULL))
            valid[part] = area[..., 0] >= _HALF
            strip[~valid[part]] = WHITE
        strip += np.float32(0.5)
        np.minimum(strip, np.float32(WHITE), out=strip)
        out[part] = strip  # truncates, which rounds after a half was added
    return out, valid


def _average(
    values: NDArray[np.uint8] | NDArray[np.float32],
    row_index: NDArray[np.int64],
    row_weights: NDArray[np.float32],
    col_index: NDArray[np.int64],
    col_weights: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Apply both passes to one strip: first along rows, which are contiguous in memory, then along columns."""
    columns = values.shape[1]
    tall = np.zeros((len(row_index), columns, values.shape[2]), np.float32)
    product = np.empty_like(tall)
    for tap, weight in enumerate(row_weights):
        if weight.any():  # adding zero does not change a bit, so a tap without weight can be left out
            index = np.minimum(row_index + tap, len(values) - 1)
            np.multiply(values[index], weight[:, None, None], out=product)
            tall += product
    out = np.zeros((len(row_index), len(col_index), values.shape[2]), np.float32)
    product = np.empty_like(out)
    for tap, weight in enumerate(col_weights):
        if weight.any():
            index = np.minimum(col_index + tap, columns - 1)
            np.take(tall, index, axis=1, out=product, mode="clip")
            product *= weight[None, :, None]
            out += product
    return out
