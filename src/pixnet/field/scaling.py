"""Writing the latent field as float16 without losing large or small values."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

_ROOM = 15  # powers of two by which a later tile may exceed the channel's first one; float16 ends below 2^16


class LatentWriter:
    """Writes tiles of D into an array, in float16 divided by a scale per channel, or in float32 as they are.

    A scale is a power of two, so dividing by it changes no digit: a stored value differs from the computed one by
    float16's half step (2^-11 of itself), or by 2^-25 of the channel's largest value where it is tiny beside it. The
    first tile in which a channel is not zero sets its scale. Where a later tile would overflow, the scale grows and
    what is written already is written anew, so neither the order nor the size of tiles matters.

    Parameters
    ----------
    array
        (C, H, W) float16 or float32, empty.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        self._array = array
        self._exponent = np.zeros(array.shape[0], np.int32)
        self._known = np.zeros(array.shape[0], bool)

    @property
    def scale(self) -> tuple[float, ...]:
        """Latent units per stored unit, for each channel."""
        return tuple(float(value) for value in np.ldexp(1.0, self._exponent))

    def write(self, row: int, col: int, latent: NDArray[np.float32]) -> None:
        """Write the finite values (C, h, w) of the cells from (row, col) on."""
        window = slice(None), slice(row, row + latent.shape[1]), slice(col, col + latent.shape[2])
        if self._array.dtype == np.float16:
            self._fit(np.abs(latent).max(axis=(1, 2)))
            latent = np.ldexp(latent, -self._exponent[:, None, None])
        self._array[window] = latent.astype(self._array.dtype)

    def _fit(self, peak: NDArray[np.float32]) -> None:
        """Choose the scales of channels first seen, and let those grow that are too small for a peak."""
        exponent = np.frexp(peak)[1]  # peak < 2^exponent
        new = ~self._known & (peak > 0)
        self._exponent[new] = exponent[new]
        self._known |= new
        growth = np.where(self._known & (exponent > self._exponent + _ROOM), exponent - self._exponent, 0)
        if growth.any():
            self._rescale(growth)

    def _rescale(self, growth: NDArray[Any]) -> None:
        _, height, width = self._array.shape
        _, down, across = self._array.shards or self._array.chunks
        for row in range(0, height, down):
            for col in range(0, width, across):
                window = slice(None), slice(row, row + down), slice(col, col + across)
                block = np.asarray(self._array[window])
                if block.any():
                    self._array[window] = np.ldexp(block, -growth[:, None, None]).astype(block.dtype)
        self._exponent += growth.astype(np.int32)
