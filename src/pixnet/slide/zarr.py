"""Pixels of an image in a zarr store, read where they are asked for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import SlideError, first_line
from pixnet.slide.decode_limit import VARIABLE, decode_limit
from pixnet.slide.pixel_size import Found
from pixnet.slide.sources import Levels, Pixels

_UNIT = 1024  # least side of what is decoded at once, in pixels
_KEPT = 256 << 20  # bytes of decoded pixels that are kept; but at least what was decoded last
_CHANNELS = 3


class ZarrSource:
    """One array of a zarr store with the axes c, y, x, of which the first three channels are red, green and blue.

    Whole chunks are decoded, and the last ones kept. A pyramid's other levels are not used: SpatialData makes them by
    interpolation and not as means, so a resolution would look different from a store and from a file.

    Parameters
    ----------
    path
        Folder of the array.

    Raises
    ------
    OSError
        If it cannot be opened.
    SlideError
        If it holds something else, or if one chunk would take more memory than `decode_limit` allows.
    """

    found: Found | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._array: Any = None
        self._kept: dict[tuple[int, int], NDArray[np.uint8]] = {}
        array = self._open()
        shape = tuple(int(side) for side in array.shape)
        if len(shape) != 3 or shape[0] not in (3, 4) or 0 in shape or array.dtype != np.uint8:
            raise SlideError(f"{path}: holds {array.dtype} of shape {shape}. Give an 8-bit RGB image (c, y, x).")
        self.levels: Levels = ((1.0, (shape[1], shape[2])),)
        tall, wide = (min(int(chunk), side) for chunk, side in zip(array.chunks[1:], shape[1:], strict=True))
        needed = tall * wide * shape[0]
        if needed > decode_limit():
            raise SlideError(
                f"{path}: has chunks of {wide} x {tall} pixels, of which each takes {needed / 2**30:.1f} GB in memory, "
                f"over the limit of {decode_limit() / 2**30:g} GB. Write the image in smaller chunks, or raise the "
                f"limit with the environment variable {VARIABLE}."
            )
        self._unit = tuple(-(-_UNIT // side) * side for side in (tall, wide))

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Give a window; chunks that the store leaves out hold what it says of them, mostly black."""
        rgb = np.empty((height, width, _CHANNELS), np.uint8)
        tall, wide = self._unit
        for top in range(row // tall * tall, row + height, tall):
            for left in range(col // wide * wide, col + width, wide):
                y, x = max(top, row), max(left, col)
                part = self._decoded(top, left)[y - top : row + height - top, x - left : col + width - left]
                rgb[y - row : y - row + part.shape[0], x - col : x - col + part.shape[1]] = part
        return rgb, None

    def release(self) -> None:
        """Drop what was decoded, and open the array anew at the next read."""
        with self._lock:
            self._array, self._kept = None, {}

    def _decoded(self, top: int, left: int) -> NDArray[np.uint8]:
        with self._lock:
            found = self._kept.pop((top, left), None)
        if found is None:
            found = self._decode(top, left)
        with self._lock:
            self._kept[top, left] = found  # as the last one
            while len(self._kept) > 1 and sum(each.nbytes for each in self._kept.values()) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return found

    def _decode(self, top: int, left: int) -> NDArray[np.uint8]:
        if not self.path.is_dir():  # to zarr, chunks that are gone are chunks that were never written
            raise SlideError(f"{self.path}: the image is no longer there. Put it back, or open the slide anew.")
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
            except Exception as error:  # damaged metadata make zarr raise nearly anything
                raise OSError(first_line(error)) from error
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None, "_kept": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
