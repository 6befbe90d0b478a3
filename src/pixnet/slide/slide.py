"""An image with a known pixel size, read at any physical resolution.

Whatever the file's format and pyramid, `Slide.read` gives RGB pixels at the asked um per pixel and a mask of which of
them hold data. The pyramid level follows from the resolution alone, and resampling from the absolute position alone,
so neither memory, nor tile size, nor the order of reads changes a pixel.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import SlideError
from pixnet.grid import Box
from pixnet.slide import pixel_size
from pixnet.slide.formats import open_source
from pixnet.slide.resample import WHITE, axis_taps, resample, snapped
from pixnet.slide.sources import ArraySource, Pixels, Source

_FINER = 1.01  # a level counts as fine enough up to 1 % coarser than asked
_BLOCK = 1024  # side of the blocks in which a level is read, in its pixels
_SMALL_BLOCK = 256  # side of what is given up when a block cannot be read
_WINDOW = 4096  # side of the part of a level that is held at once
_OUTPUT_LIMIT = 4 << 30  # bytes of one answer

Patch = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""(H, W, 3) RGB and (H, W) mask of valid pixels."""


class Slide:
    """An image with a known pixel size. Made by `Slide.open` or `Slide.from_array`.

    Can be pickled and used in any process and thread: handles are opened where they are first used.

    Attributes
    ----------
    path
        The file; None for an array or an image in a store.
    name
        File name without its ending, or the name of the array or image.
    mpp
        um per full-resolution pixel.
    mpp_source
        Where `mpp` comes from: "argument", "manifest", "spot pitch", "aperio.MPP", ...
    shape
        Height and width in full-resolution pixels.
    levels
        Downsampling and (height, width) of each pyramid level, finest first.
    no_data_reads
        How many blocks could not be read, even after reopening the file, and are masked as no data.
    """

    def __init__(self, source: Source, path: Path | None, name: str, mpp: float, mpp_source: str) -> None:
        self._source = source
        self.path = path
        self.name = name
        self.mpp = mpp
        self.mpp_source = mpp_source
        self.levels = tuple(sorted(source.levels))
        self._order = sorted(range(len(source.levels)), key=lambda index: source.levels[index])
        self.shape = self.levels[0][1]
        self.no_data_reads = 0
        self._lock = threading.Lock()
        self._here = threading.local()
        self._fingerprint: str | None = None

    @classmethod
    def open(cls, path: str | Path, mpp: float | None = None, mpp_source: str | None = None) -> Slide:
        """Open an image file.

        Parameters
        ----------
        path
            JPEG, PNG, TIFF, OME-TIFF, SVS or another format that OpenSlide reads.
        mpp
            um per full-resolution pixel. Comes before whatever the file states.
        mpp_source
            Where `mpp` is from, if not from an argument ("manifest", "spot pitch", ...).

        Raises
        ------
        SlideError
            If the file is missing, damaged or no 8-bit RGB or grey image, or if no pixel size is known.
        """
        path = Path(path)
        source = open_source(path)
        size, origin = pixel_size.resolve(path, mpp, mpp_source, source.found)
        return cls(source, path, path.stem.removesuffix(".ome"), size, origin)

    @classmethod
    def from_array(cls, rgb: NDArray[np.uint8], mpp: float, name: str = "array") -> Slide:
        """Take an image from memory.

        Parameters
        ----------
        rgb
            (h, w, 3) uint8. It is not copied.
        mpp
            um per pixel.
        name
            Name of the slide.

        Raises
        ------
        SlideError
            If the array is not (h, w, 3) uint8, or if `mpp` is not positive.
        """
        rgb = np.asarray(rgb)
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise SlideError(f"{name}: a slide needs a (h, w, 3) array of uint8, not {rgb.shape} {rgb.dtype}.")
        size, origin = pixel_size.resolve(name, mpp, None, None)
        return cls(ArraySource(rgb), None, name, size, origin)

    @property
    def height_um(self) -> float:
        """Height in um."""
        return self.shape[0] * self.mpp

    @property
    def width_um(self) -> float:
        """Width in um."""
        return self.shape[1] * self.mpp

    def read(self, x_um: float, y_um: float, width_um: float, height_um: float, um_per_px: float) -> Patch:
        """Read a rectangle at a physical resolution.

        Parameters
        ----------
        x_um, y_um
            Top-left corner in um from the slide's top-left corner.
        width_um, height_um
            Extent in um.
        um_per_px
            Resolution in um per pixel.

        Returns
        -------
        rgb
            (H, W, 3) uint8, H = round(height_um / um_per_px). White where there is no data.
        mask
            (H, W) bool, True where at least half of the pixel's area holds data.

        Raises
        ------
        SlideError
            If the resolution or the extent is not positive, or if the image turns out to be damaged.
        """
        self._check_resolution(um_per_px)
        height, width = round(height_um / um_per_px), round(width_um / um_per_px)
        if height <= 0 or width <= 0:
            raise SlideError(f"{self.name}: {width_um:g} x {height_um:g} um is no pixel at {um_per_px:g} um per pixel.")
        y, x = y_um / um_per_px, x_um / um_per_px
        row, col = math.floor(y + 1e-6), math.floor(x + 1e-6)
        phase = tuple(0.0 if abs(value) <= 1e-6 else value for value in (y - row, x - col))
        return self._read(Box(row, col, height, width), um_per_px, (phase[0], phase[1]))

    def read_box(self, box: Box, mpp: float) -> Patch:
        """Read whole pixels of the lattice that begins at the slide's origin: what overlaps is identical.

        Parameters
        ----------
        box
            Rows and columns of lattice pixels; parts outside the slide are white and masked.
        mpp
            Resolution of the lattice, in um per pixel.

        Returns
        -------
        rgb, mask
            As from `read`.
        """
        self._check_resolution(mpp)
        return self._read(box, mpp, (0.0, 0.0))

    def thumbnail(self, max_px: int = 2000) -> tuple[NDArray[np.uint8], float]:
        """Give the whole slide with at most `max_px` pixels a side.

        Returns
        -------
        rgb, um_per_px
            (H, W, 3) uint8 and its resolution.
        """
        um_per_px = max(self.mpp, max(self.height_um, self.width_um) / max_px)
        height, width = (max(1, round(side / um_per_px)) for side in (self.height_um, self.width_um))
        return self.read_box(Box(0, 0, height, width), um_per_px)[0], um_per_px

    def fingerprint(self) -> str:
        """Give the SHA-256 of the file's bytes, or of the shape and the pixels of what is no file, in hexadecimal."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            if self.path is None:
                digest.update(repr(self.shape).encode())
                for rows in self._rows():
                    digest.update(rows)
            else:
                with self.path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @property
    def no_data_reads_here(self) -> int:
        """How many of the `no_data_reads` were this thread's."""
        return int(getattr(self._here, "no_data_reads", 0))

    def close(self) -> None:
        """Let go of the file; a later read opens it again."""
        self._source.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        height, width = self.shape
        return f"Slide({self.name!r}, {width} x {height} px, {self.mpp:.4g} um/px from {self.mpp_source})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_here": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._here = threading.Lock(), threading.local()

    def _rows(self) -> Iterator[memoryview]:
        """Give the pixels of the finest level some rows at a time; nothing for those that cannot be read."""
        height, width = self.shape
        for top in range(0, height, _SMALL_BLOCK):
            try:
                rgb, _ = self._source.read(self._order[0], top, 0, min(_SMALL_BLOCK, height - top), width)
            except OSError:
                continue
            yield np.ascontiguousarray(rgb).data

    def _check_resolution(self, um_per_px: float) -> None:
        if not (math.isfinite(um_per_px) and um_per_px > 0):
            raise SlideError(f"{self.name}: cannot be read at {um_per_px!r} um per pixel; give a positive number.")

    def _level(self, um_per_px: float) -> int:
        """Choose the coarsest level that is still as fine as asked, or the finest."""
        fits = [i for i, (downsample, _) in enumerate(self.levels) if downsample * self.mpp <= um_per_px * _FINER]
        return fits[-1] if fits else 0

    def _read(self, box: Box, um_per_px: float, phase: tuple[float, float]) -> Patch:
        if box.height * box.width * 4 > _OUTPUT_LIMIT:
            raise SlideError(
                f"{self.name}: {box.width} x {box.height} pixels are too many for one read. Read parts, or coarser."
            )
        level = self._level(um_per_px)
        ratio = snapped(um_per_px / (self.mpp * self.levels[level][0]))
        rgb = np.empty((box.height, box.width, 3), np.uint8)
        mask = np.empty((box.height, box.width), bool)
        # No answer depends on how it is cut, so the cut can follow the memory that the source's pixels take.
        side = max(1, int(_WINDOW / max(ratio, 1.0)))
        for top in range(0, box.height, side):
            for left in range(0, box.width, side):
                part = slice(top, min(top + side, box.height)), slice(left, min(left + side, box.width))
                rows = axis_taps(box.row + top, part[0].stop - top, ratio, phase[0])
                cols = axis_taps(box.col + left, part[1].stop - left, ratio, phase[1])
                if ratio == 1.0 and not any(phase):
                    pixels, valid = self._window(level, rows.first[0], cols.first[0], len(rows.first), len(cols.first))
                    rgb[part], mask[part] = pixels, True if valid is None else valid
                    continue
                (y0, y1), (x0, x1) = rows.window, cols.window
                rgb[part], mask[part] = resample(*self._window(level, y0, x0, y1 - y0, x1 - x0), rows, cols)
        return rgb, mask

    def _window(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Give a window of a level that may reach beyond it; white and masked there."""
        full_height, full_width = self.levels[level][1]
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + height, full_height), min(col + width, full_width)
        if (top, left, bottom, right) == (row, col, row + height, col + width):
            return self._blocks(level, top, left, bottom, right)
        rgb = np.full((height, width, 3), WHITE, np.uint8)
        mask = np.zeros((height, width), bool)
        if bottom > top and right > left:
            inside = slice(top - row, bottom - row), slice(left - col, right - col)
            pixels, valid = self._blocks(level, top, left, bottom, right)
            rgb[inside] = pixels
            mask[inside] = True if valid is None else valid
            rgb[~mask] = WHITE
        return rgb, mask

    def _blocks(self, level: int, top: int, left: int, bottom: int, right: int) -> Pixels:
        """Give a window within a level, block by block, so that damage costs no more than its block."""
        if isinstance(self._source, ArraySource):
            return self._source.read(0, top, left, bottom - top, right - left)
        rgb = np.empty((bottom - top, right - left, 3), np.uint8)
        mask = np.ones((bottom - top, right - left), bool)
        self._fill(rgb, mask, level, (top, left, bottom, right), _BLOCK)
        rgb[~mask] = WHITE
        return rgb, mask

    def _fill(
        self,
        rgb: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        level: int,
        bounds: tuple[int, int, int, int],
        side: int,
    ) -> None:
        """Read `bounds` (top, left, bottom, right) into arrays that begin there, in blocks of `side`."""
        top, left, bottom, right = bounds
        for y0 in range(top // side * side, bottom, side):
            for x0 in range(left // side * side, right, side):
                y, x = max(y0, top), max(x0, left)
                y1, x1 = min(y0 + side, bottom), min(x0 + side, right)
                part = slice(y - top, y1 - top), slice(x - left, x1 - left)
                pixels = self._attempt(level, y, x, y1 - y, x1 - x)
                if pixels is None and side > _SMALL_BLOCK:
                    self._fill(rgb[part], mask[part], level, (y, x, y1, x1), _SMALL_BLOCK)
                elif pixels is None:
                    mask[part] = False
                    self._here.no_data_reads = self.no_data_reads_here + 1
                    with self._lock:
                        self.no_data_reads += 1
                else:
                    rgb[part] = pixels[0]
                    if pixels[1] is not None:
                        mask[part] = pixels[1]

    def _attempt(self, level: int, row: int, col: int, height: int, width: int) -> Pixels | None:
        """Read one block, a second time on a reopened handle if need be; None if neither works."""
        for _ in range(2):
            try:
                return self._source.read(self._order[level], row, col, height, width)
            except OSError:
                self._source.release()
        if self.path is not None and not self.path.is_file():
            raise SlideError(f"{self.path}: the file is no longer there. Put it back, or open the slide anew.")
        return None
