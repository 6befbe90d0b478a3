"""Pixels of an image in a Zarr store, read chunk by chunk as needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import SlideError, first_line
from pixnet.safe.budget import Budget
from pixnet.slide.frame import PixelBounds
from pixnet.slide.pixel_size import Found
from pixnet.slide.pyramid import Levels
from pixnet.slide.sources import Pixels

_UNIT = 1024  # least side of the block that is decoded at once, in pixels
_CACHE = 256 << 20  # bytes of decoded blocks in the cache; the last block is always in it
_CHANNELS = 3


class ZarrSource:
    """An array of a Zarr store with the axes c, y, x, whose first three channels are red, green and blue.

    Complete chunks are decoded, and the last ones cached. The other levels of a pyramid are not used. SpatialData makes
    them by interpolation instead of averaging, so the same slide would look different from a store and from a file.
    """

    found: Found | None = None
    doubt: str = ""
    bounds: PixelBounds | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._array: Any = None
        self._cache: dict[tuple[int, int], NDArray[np.uint8]] = {}
        array = self._open()
        shape = tuple(int(side) for side in array.shape)
        if len(shape) != 3 or shape[0] not in (3, 4) or 0 in shape or array.dtype != np.uint8:
            raise SlideError(f"{path}: holds {array.dtype} pixels of shape {shape}. Give an 8-bit RGB image (c, y, x).")
        self.levels: Levels = ((1.0, (shape[1], shape[2])),)
        tall, wide = (min(int(chunk), side) for chunk, side in zip(array.chunks[1:], shape[1:], strict=True))
        needed = tall * wide * shape[0]
        Budget(path, SlideError).check(
            needed, f"a chunk of {wide} x {tall} pixels", "write the image in smaller chunks"
        )
        self._unit = tuple(-(-_UNIT // side) * side for side in (tall, wide))

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Return a window; chunks that are not in the store have its fill value, usually black."""
        rgb = np.empty((height, width, _CHANNELS), np.uint8)
        tall, wide = self._unit
        for top in range(row // tall * tall, row + height, tall):
            for left in range(col // wide * wide, col + width, wide):
                y, x = max(top, row), max(left, col)
                part = self._decoded(top, left)[y - top : row + height - top, x - left : col + width - left]
                rgb[y - row : y - row + part.shape[0], x - col : x - col + part.shape[1]] = part
        return rgb, None

    def release(self) -> None:
        """Drop the decoded blocks and the array; the next read opens it again."""
        with self._lock:
            self._array = None
            self._cache = {}

    def _decoded(self, top: int, left: int) -> NDArray[np.uint8]:
        """Return a block from the cache, or decode it."""
        with self._lock:
            block = self._cache.pop((top, left), None)
        if block is None:
            block = self._decode(top, left)
        with self._lock:
            self._cache[top, left] = block  # as the most recent one
            while len(self._cache) > 1 and sum(cached.nbytes for cached in self._cache.values()) > _CACHE:
                del self._cache[next(iter(self._cache))]
        return block

    def _decode(self, top: int, left: int) -> NDArray[np.uint8]:
        if not self.path.is_dir():  # zarr would take the missing chunks for chunks that were never written
            raise SlideError(f"{self.path}: the image is no longer there. Put it back, or open the slide again.")
        tall, wide = self._unit
        try:
            planes = np.asarray(self._open()[:_CHANNELS, top : top + tall, left : left + wide])
        except Exception as error:  # each codec has its own exceptions for damaged chunks
            raise OSError(first_line(error)) from error
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1))

    def _open(self) -> Any:
        import zarr

        array = self._array
        if array is None:
            try:
                array = self._array = zarr.open_array(self.path, mode="r")
            except Exception as error:  # zarr raises nearly any exception for damaged metadata
                raise OSError(first_line(error)) from error
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None, "_cache": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
