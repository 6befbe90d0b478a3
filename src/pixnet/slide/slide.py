"""An image with a known pixel size, read at any physical resolution.

`Slide.read` returns RGB pixels at a given um per pixel and a mask of the pixels that hold data, for every format and
pyramid. The pyramid level depends on the resolution alone, and the resampling on the absolute position alone. So
neither the memory, nor the tile size, nor the order of reads changes a pixel.
"""

from __future__ import annotations

import hashlib
import math
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import PixNetWarning, SlideError
from pixnet.grid import Box
from pixnet.safe.names import as_text
from pixnet.slide import pixel_size
from pixnet.slide.formats import open_source
from pixnet.slide.frame import Frames
from pixnet.slide.pixel_size import PixelSize
from pixnet.slide.resample import WHITE, axis_taps, resample, snapped
from pixnet.slide.sources import ArraySource, Pixels, Source

_TOLERANCE = 1.01  # a level is fine enough if it is at most 1 % coarser than the requested resolution
_BLOCK = 1024  # side of the blocks in which a level is read, in its pixels
_SMALL_BLOCK = 256  # side of the part that is masked where a block cannot be read
_WINDOW = 4096  # side of the part of a level that is in memory at once
_OUTPUT_LIMIT = 4 << 30  # bytes of the result of one read
_ROUNDING = 1e-6  # positions this close to a pixel of the lattice are on it, in pixels

Patch = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""RGB pixels, shape (H, W, 3), and mask of valid pixels, shape (H, W)."""


def _index_and_phase(position: float) -> tuple[int, float]:
    """Split a position, in pixels, into the index of a pixel and the rest; a rest by rounding alone is zero."""
    index = math.floor(position + _ROUNDING)
    phase = position - index
    return index, 0.0 if abs(phase) <= _ROUNDING else phase


class Slide:
    """An image with a known pixel size, opened by `Slide.open` or made by `Slide.from_array`.

    A slide can be pickled and used in any process and thread, because file handles are opened at first use.

    Attributes
    ----------
    path
        Path of the file; None for an array or an image in a Zarr store.
    name
        File name without its suffix, or the name of the array or image.
    mpp
        um per full-resolution pixel.
    mpp_source
        Where `mpp` comes from: "argument", "manifest", "spot pitch", "aperio.MPP", ...
    shape
        Height and width in full-resolution pixels.
    levels
        Downsampling and (height, width) of each pyramid level, finest first.
    bounds_px
        The part of the picture that was scanned: left, top, width and height in pixels; None if that is all, or is not
        stated.
    no_data_reads
        Number of blocks that could not be read, even after reopening the file, and are masked as without data.
    """

    def __init__(self, source: Source, path: Path | None, name: str, size: PixelSize) -> None:
        self._source = source
        self.path = path
        self.name = as_text(name)
        self.mpp = size.mpp
        self.mpp_source = size.source
        self.levels = source.levels
        self.shape = self.levels[0][1]
        self.bounds_px = source.bounds
        self.no_data_reads = 0
        self._lock = threading.Lock()
        self._here = threading.local()
        self._fingerprint: str | None = None

    @classmethod
    def open(cls, path: str | Path, mpp: float | None = None) -> Slide:
        """Open an image file.

        Parameters
        ----------
        path
            Path of a JPEG, PNG, TIFF, OME-TIFF, SVS or of another format that OpenSlide reads.
        mpp
            um per full-resolution pixel. Comes before whatever the file states.

        Raises
        ------
        SlideError
            If the file is missing, damaged or no 8-bit RGB or grey image, or if no pixel size is known.

        Warns
        -----
        PixNetWarning
            If another image of the file could be meant, or if the pixel size contradicts what is known of scanners and
            glass slides.
        """
        return open_slide(path, PixelSize.given(mpp))

    @classmethod
    def from_array(cls, rgb: NDArray[np.uint8], mpp: float, name: str = "array") -> Slide:
        """Make a slide of an image in memory.

        Parameters
        ----------
        rgb
            RGB pixels, shape (h, w, 3), uint8. Not copied.
        mpp
            um per pixel.

        Raises
        ------
        SlideError
            If the array is empty or not (h, w, 3) uint8, or if `mpp` is not positive.
        """
        rgb = np.asarray(rgb)
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise SlideError(f"{name}: a slide needs a (h, w, 3) array of uint8, not {rgb.shape} {rgb.dtype}.")
        return cls(ArraySource(rgb), None, name, pixel_size.resolve(name, PixelSize.given(mpp), None))

    @property
    def frames(self) -> Frames:
        """The canvas, which positions in um are counted from, and the bounds of the scanned part."""
        return Frames.of(self.mpp, self.shape, self.bounds_px)

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
            Top-left corner of the rectangle, in um from the slide's top-left corner.
        width_um, height_um
            Size of the rectangle, in um.
        um_per_px
            Resolution, in um per pixel.

        Returns
        -------
        rgb
            RGB pixels, shape (H, W, 3), uint8, with H = round(height_um / um_per_px). White where there is no data.
        mask
            Whether at least half of the area of a pixel holds data, shape (H, W).

        Raises
        ------
        SlideError
            If the resolution or the size is not positive, if the result would be too large, or if the image is damaged.
        """
        self._check_resolution(um_per_px)
        height, width = round(height_um / um_per_px), round(width_um / um_per_px)
        if height <= 0 or width <= 0:
            raise SlideError(
                f"{self.name}: {width_um:g} x {height_um:g} um are less than a pixel at {um_per_px:g} um per pixel. "
                "Read a larger rectangle, or at a finer resolution."
            )
        row, y_phase = _index_and_phase(y_um / um_per_px)
        col, x_phase = _index_and_phase(x_um / um_per_px)
        return self._read(Box(row, col, height, width), um_per_px, (y_phase, x_phase))

    def read_box(self, box: Box, mpp: float) -> Patch:
        """Read pixels of the lattice that starts at the slide's origin; boxes that overlap have identical pixels there.

        Parameters
        ----------
        box
            Rows and columns of the lattice. Pixels outside the slide are white and masked.
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
        """Return the complete slide with at most `max_px` pixels per side.

        Returns
        -------
        rgb, um_per_px
            RGB pixels, shape (H, W, 3), uint8, and their resolution.
        """
        um_per_px = max(self.mpp, max(self.height_um, self.width_um) / max_px)
        return read_overview(self, um_per_px)[0], um_per_px

    def fingerprint(self) -> str:
        """Return the SHA-256, in hex, of the file's bytes, or of shape and pixels of a slide that is not a file."""
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
        """Number of the `no_data_reads` that happened in this thread."""
        return int(getattr(self._here, "no_data_reads", 0))

    def close(self) -> None:
        """Close the file; a later read opens it again."""
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
        self._lock = threading.Lock()
        self._here = threading.local()

    def _rows(self) -> Iterator[memoryview]:
        """Yield the pixels of the finest level, some rows at a time; skip rows that cannot be read."""
        height, width = self.shape
        for top in range(0, height, _SMALL_BLOCK):
            try:
                rgb, _ = self._source.read(0, top, 0, min(_SMALL_BLOCK, height - top), width)
            except OSError:
                continue
            yield np.ascontiguousarray(rgb).data

    def _check_resolution(self, um_per_px: float) -> None:
        if not (math.isfinite(um_per_px) and um_per_px > 0):
            raise SlideError(f"{self.name}: cannot be read at {um_per_px!r} um per pixel; give a positive number.")

    def _read(self, box: Box, um_per_px: float, phase: tuple[float, float]) -> Patch:
        """Read pixels of the lattice that is moved by `phase` (y, x), in its pixels, from the slide's origin."""
        if box.height * box.width * 4 > _OUTPUT_LIMIT:
            raise SlideError(
                f"{self.name}: {box.width} x {box.height} pixels are too many for one read. Read the slide in parts, "
                "or at a coarser resolution."
            )
        # The coarsest level that is at least as fine as the requested resolution, or the finest level.
        fits = [i for i, (downsample, _) in enumerate(self.levels) if downsample * self.mpp <= um_per_px * _TOLERANCE]
        level = fits[-1] if fits else 0
        ratio = snapped(um_per_px / (self.mpp * self.levels[level][0]))
        rgb = np.empty((box.height, box.width, 3), np.uint8)
        mask = np.empty((box.height, box.width), bool)
        # The pixels do not depend on how the box is cut, so the parts are as large as the memory for the source allows.
        side = max(1, int(_WINDOW / max(ratio, 1.0)))
        for top in range(0, box.height, side):
            for left in range(0, box.width, side):
                height, width = min(side, box.height - top), min(side, box.width - left)
                part = slice(top, top + height), slice(left, left + width)
                if ratio == 1.0 and not any(phase):
                    pixels, valid = self._window(level, box.row + top, box.col + left, height, width)
                    rgb[part] = pixels
                    mask[part] = True if valid is None else valid
                    continue
                rows = axis_taps(box.row + top, height, ratio, phase[0])
                cols = axis_taps(box.col + left, width, ratio, phase[1])
                (y0, y1), (x0, x1) = rows.window, cols.window
                rgb[part], mask[part] = resample(*self._window(level, y0, x0, y1 - y0, x1 - x0), rows, cols)
        return rgb, mask

    def _window(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Return a window of a level that may extend beyond the level; pixels there are white and masked."""
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
        """Return a window within a level, read block by block, so that damage affects its block alone."""
        if isinstance(self._source, ArraySource):
            return self._source.read(0, top, left, bottom - top, right - left)
        rgb = np.empty((bottom - top, right - left, 3), np.uint8)
        mask = np.ones((bottom - top, right - left), bool)
        self._fill(rgb, mask, level, (top, left, bottom, right), _BLOCK)
        rgb[~mask] = WHITE
        return rgb, mask

    def _fill(
        self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_], level: int, bounds: tuple[int, int, int, int], side: int
    ) -> None:
        """Read a window (top, left, bottom, right) of a level into arrays of its size, in blocks of `side`."""
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
        """Read a block; after a failure reopen the file and read again; return None if that fails, too."""
        for _ in range(2):
            try:
                return self._source.read(level, row, col, height, width)
            except OSError:
                self._source.release()
        if self.path is not None and not self.path.is_file():
            raise SlideError(f"{self.path}: the file is no longer there. Put it back, or open the slide again.")
        return None


def read_overview(slide: Slide, um_per_px: float) -> Patch:
    """Read a complete slide at a coarse resolution: RGB pixels (H, W, 3) and mask of valid pixels (H, W)."""
    height, width = (max(1, round(side / um_per_px)) for side in (slide.height_um, slide.width_um))
    return slide.read_box(Box(0, 0, height, width), um_per_px)


def open_slide(path: str | Path, size: PixelSize | None) -> Slide:
    """Open an image file, as `Slide.open`, with a pixel size that also names its source."""
    path = Path(path)
    source = open_source(path)
    resolved = pixel_size.resolve(path, size, source.found, source.doubt)
    slide = Slide(source, path, path.stem.removesuffix(".ome"), resolved)
    doubt = [f"{source.doubt}: check it, and give the right `mpp`"] if source.doubt and size is None else []
    notes = [*source.notes, *doubt, *pixel_size.doubts(resolved, slide.shape)]
    if notes:
        warnings.warn(f"{path}: {'; '.join(notes)}.", PixNetWarning, stacklevel=3)
    return slide
