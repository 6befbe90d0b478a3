"""The ways of getting pixels out of a file or an array: one small class each, with the same four members.

`levels` lists the pyramid, `found` the pixel size that trusted metadata state, `read` gives a window of one level and
raises OSError when it cannot, `release` lets go of handles and memory. Windows lie within their level. TIFF without a
scanner's own layout has its class in `slide_tiff`.
"""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import SlideError, first_line
from pixnet.slide.decode_limit import VARIABLE, check_decoded_size, pillow_limit
from pixnet.slide.file_kind import looks_like
from pixnet.slide.pixel_size import Found, from_openslide

Pixels = tuple[NDArray[np.uint8], NDArray[np.bool_] | None]
"""(h, w, 3) RGB and a (h, w) mask of valid pixels, None where all are."""

Levels = tuple[tuple[float, tuple[int, int]], ...]
"""Downsampling and (height, width) of each level."""

_FIXED_BLOCK = 512
_STRIP = 1 << 24  # pixels
_PIL_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
_PIL_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, OverflowError)


class Source(Protocol):
    """What a slide asks of a file."""

    levels: Levels
    found: Found | None

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Give a window of a level; OSError if it cannot be read."""

    def release(self) -> None:
        """Let go of handles and memory; the next read takes them again."""


class ArraySource:
    """Pixels that are already in memory.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8.
    mask
        (h, w), True where there is data; None if everywhere.
    """

    found: Found | None = None

    def __init__(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> None:
        self.rgb = rgb
        self.mask = mask
        self.levels: Levels = ((1.0, (rgb.shape[0], rgb.shape[1])),)

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Give a window as a view."""
        window = slice(row, row + height), slice(col, col + width)
        return self.rgb[window], None if self.mask is None else self.mask[window]

    def release(self) -> None:
        """Nothing to do."""


class OpenSlideSource:
    """What OpenSlide reads. One handle per process; threads share it, as OpenSlide allows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: Any = None
        self._pid = os.getpid()
        self._inherited: list[Any] = []
        slide = self._open()
        self.vendor: str = slide.properties.get("openslide.vendor", "")
        self.found = from_openslide(slide.properties)
        self._downsamples = tuple(float(value) for value in slide.level_downsamples)
        sizes = [(height, width) for width, height in slide.level_dimensions]
        self.levels: Levels = tuple(
            (whole_downsample(value, sizes[0], size), size)
            for value, size in zip(self._downsamples, sizes, strict=True)
        )

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Give a window of a level; transparent pixels are no data."""
        if self._downsamples[level].is_integer():
            return over_white(self._region(level, row, col, height, width))
        # OpenSlide takes positions in full-resolution pixels. Where those are no multiple of a level's pixel it
        # interpolates, by an amount that depends on where a region begins. So regions begin at fixed places.
        size, (full_height, full_width) = _FIXED_BLOCK, self.levels[level][1]
        rgba = np.empty((height, width, 4), np.uint8)
        for top in range(row // size * size, row + height, size):
            for left in range(col // size * size, col + width, size):
                block = self._region(level, top, left, min(size, full_height - top), min(size, full_width - left))
                y, x = max(row - top, 0), max(col - left, 0)
                part = block[y : row + height - top, x : col + width - left]
                y, x = top + y - row, left + x - col
                rgba[y : y + part.shape[0], x : x + part.shape[1]] = part
        return over_white(rgba)

    def _region(self, level: int, row: int, col: int, height: int, width: int) -> NDArray[np.uint8]:
        import openslide

        downsample = self._downsamples[level]
        position = round(col * downsample), round(row * downsample)
        try:
            return np.asarray(self._open().read_region(position, level, (width, height)))
        except openslide.OpenSlideError as error:
            raise OSError(str(error)) from error

    def release(self) -> None:
        """Drop the handle: after one failed read OpenSlide refuses every other on the same handle."""
        self._handle = None  # not closed here: another thread may be reading, and closes it when it is done

    def _open(self) -> Any:
        import openslide

        handle = self._handle
        if self._pid != os.getpid():
            # A handle must be neither used nor closed in a process that was forked from the one that opened it.
            self._inherited.append(handle)
            self._pid, handle = os.getpid(), None
        if handle is None:
            handle = self._handle = openslide.OpenSlide(self.path)
        return handle

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_inherited": []}


class PilSource:
    """JPEG, PNG and whatever else PIL reads: decoded at the first read, then kept. Pixels stay as they are stored.

    Parameters
    ----------
    path
        The file.
    found
        Pixel size, if somebody else read one from the file; PIL's dpi is never used.

    Raises
    ------
    SlideError
        If PIL does not know the format, if the pixels are not 8-bit RGB or grey, or if they would take more memory than
        `decode_limit` allows.
    """

    def __init__(self, path: Path, found: Found | None = None) -> None:
        self.path = path
        self.found = found
        self._lock = threading.Lock()
        self._decoded: ArraySource | None = None
        with self._image() as image:
            width, height = image.size
            mode = image.mode
        check_decoded_size(path, height, width)
        if _png_depth(path) > 8:
            mode = "16-bit"
        if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"):
            raise SlideError(f"{path}: holds {mode} pixels. Give an 8-bit RGB image of the stained section.")
        self.levels: Levels = ((1.0, (height, width)),)

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Give a window as a view of the decoded image; SlideError if the file is truncated or damaged."""
        with self._lock:
            decoded = self._decoded = self._decoded or self._decode()
        return decoded.read(level, row, col, height, width)

    def _decode(self) -> ArraySource:
        height, width = self.levels[0][1]
        rgb = np.empty((height, width, 3), np.uint8)
        mask: NDArray[np.bool_] | None = None
        try:
            with self._image() as image:
                image.load()
                rows = max(1, _STRIP // width)
                clear = "A" in image.mode or "transparency" in image.info
                # Strip by strip: PIL's own copy and ours are the only two whole ones.
                for top in range(0, height, rows):
                    bottom = min(top + rows, height)
                    part = image.crop((0, top, width, bottom)).convert("RGBA" if clear else "RGB")
                    if not clear:
                        rgb[top:bottom] = np.asarray(part)
                        continue
                    if mask is None:
                        mask = np.ones((height, width), bool)
                    rgb[top:bottom], valid = over_white(np.asarray(part))
                    if valid is not None:
                        mask[top:bottom] = valid
        except _PIL_ERRORS as error:
            raise SlideError(
                f"{self.path}: the image cannot be decoded ({first_line(error)}). Copy or download it again."
            ) from error
        return ArraySource(rgb, mask)

    def _image(self) -> Any:
        from PIL import Image

        try:
            with pillow_limit():
                return Image.open(self.path, formats=_PIL_FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise SlideError(
                f"{self.path}: {first_line(error)}. Convert the image to a tiled, pyramidal TIFF, or raise the "
                f"limit with the environment variable {VARIABLE}."
            ) from error
        except _PIL_ERRORS as error:
            raise SlideError(
                f"{self.path}: is no image that can be read: the file {looks_like(self.path)}. Give the H&E image as "
                "JPEG, PNG, TIFF, OME-TIFF or in a slide scanner's format that OpenSlide reads."
            ) from error

    def release(self) -> None:
        """Drop the decoded image."""
        self._decoded = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoded": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def whole_downsample(value: float, base: tuple[int, int], size: tuple[int, int]) -> float:
    """Undo the rounding of a level's size: 2967 pixels shrunk to 741 were shrunk 4 times, not 4.004 times."""
    whole = max(1, round(value))
    fits = all(abs(full / whole - part) <= 1 for full, part in zip(base, size, strict=True))
    return float(whole) if fits and abs(value - whole) < 0.05 * whole else value


def over_white(rgba: NDArray[np.uint8]) -> Pixels:
    """Split (h, w, 4) RGBA into RGB over white and a mask of what is not wholly transparent."""
    alpha = rgba[..., 3]
    if (alpha == 255).all():
        return np.ascontiguousarray(rgba[..., :3]), None
    share = alpha[..., None].astype(np.float32) / 255
    rgb = rgba[..., :3] * share + 255 * (1 - share)
    return (rgb + 0.5).astype(np.uint8), alpha > 0


def _png_depth(path: Path) -> int:
    """Give the bits per sample of a PNG (PIL drops the lower half of 16 unasked), 8 for other files."""
    with path.open("rb") as file:
        head = file.read(25)
    return head[24] if head.startswith(b"\x89PNG") and len(head) == 25 else 8
