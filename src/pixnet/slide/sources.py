"""Sources of pixels: one small class for each kind of file or array, all with the four members of `Source`.

TIFF files that are not of a scanner's own format are read by `pixnet.slide.tiff`, images in Zarr stores by
`pixnet.slide.zarr`.
"""

from __future__ import annotations

import os
import re
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import SlideError, first_line
from pixnet.safe.budget import RAISE
from pixnet.slide.decode_limit import check_decoded_size, pillow_limit
from pixnet.slide.frame import PixelBounds
from pixnet.slide.pixel_size import Found, from_openslide, objective_doubt
from pixnet.slide.pyramid import LevelFacts, Levels, usable_levels

Pixels = tuple[NDArray[np.uint8], NDArray[np.bool_] | None]
"""RGB pixels, shape (h, w, 3), and mask of valid pixels, shape (h, w); the mask is None if all pixels are valid."""

_FIXED_BLOCK = 512
# Bytes for a pixel that a decoder takes beside PIL's image: whole frames, and the coefficients of a progressive JPEG.
_DECODER_BYTES = {"WEBP": 12, "JPEG2000": 16}
_PROGRESSIVE_BYTES = 6
_PIL_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
_PIL_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, OverflowError)
# How the messages about files that are not images describe them, by their first bytes.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "begins like a JPEG, but cannot be opened as one"),
    (b"\x89PNG", "begins like a PNG, but cannot be opened as one"),
    (b"II", "begins like a TIFF, but cannot be opened as one"),
    (b"MM", "begins like a TIFF, but cannot be opened as one"),
    (b"%PDF", "is a PDF document"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, such as an h5ad or a matrix of counts"),
    (b"PAR1", "is a Parquet table"),
    (b"PK\x03\x04", "is a ZIP archive or a document made of one, such as xlsx"),
    (b"\x1f\x8b", "is a gzip archive"),
    (b"ZISRAWFILE", "is a Zeiss CZI, which cannot be read: export it as OME-TIFF"),
    (b"\xd0\xcf\x11\xe0", "is an OLE container, such as a Zeiss ZVI or an old Office document"),
    (b"\x93NUMPY", "is a NumPy array"),
)
_HEAD = 512  # bytes
_SHOWN = 40  # letters
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


class Source(Protocol):
    """The members that a slide needs of the reader of a file.

    Attributes
    ----------
    levels
        Downsampling and (height, width) of each pyramid level.
    found
        Pixel size that trusted metadata state; None if they state none.
    bounds
        The part of the canvas that was scanned, if the file states it.
    doubt
        What the file's metadata say that speaks against `found`, or why it is None; may be empty.
    notes
        What the user must know about how the file was read.
    """

    levels: Levels
    found: Found | None
    doubt: str
    bounds: PixelBounds | None
    notes: tuple[str, ...]

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Return a window within a level; raise OSError if it cannot be read."""

    def release(self) -> None:
        """Drop handles and memory; the next read takes them again."""


class ArraySource:
    """RGB pixels (h, w, 3) that are already in memory, and the mask of those with data; None if all have data."""

    found: Found | None = None
    doubt: str = ""
    bounds: PixelBounds | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> None:
        self.rgb = rgb
        self.mask = mask
        self.levels: Levels = ((1.0, (rgb.shape[0], rgb.shape[1])),)

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Return a window as a view."""
        window = slice(row, row + height), slice(col, col + width)
        return self.rgb[window], None if self.mask is None else self.mask[window]

    def release(self) -> None:
        """Do nothing, because there are no handles."""


class OpenSlideSource:
    """An image read by OpenSlide. There is one handle per process; threads share it, as OpenSlide allows."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: Any = None
        self._pid = os.getpid()
        self._inherited: list[Any] = []
        slide = self._open()
        self.vendor: str = slide.properties.get("openslide.vendor", "")
        self.found = from_openslide(slide.properties)
        self.doubt = objective_doubt(self.found, slide.properties.get("openslide.objective-power"))
        self._number, self.levels = _openslide_levels(slide, self.vendor)
        self._downsamples = tuple(float(slide.level_downsamples[number]) for number in self._number)
        self.bounds = _openslide_bounds(slide.properties, self.levels[0][1])

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Return a window of a level; transparent pixels are without data."""
        if self._downsamples[level].is_integer():
            return over_white(self._region(level, row, col, height, width))
        # OpenSlide takes positions in full-resolution pixels. A position that is not a multiple of a level's pixel is
        # interpolated, by an amount that depends on where the region begins. So regions begin at fixed positions.
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
            return np.asarray(self._open().read_region(position, self._number[level], (width, height)))
        except openslide.OpenSlideError as error:
            raise OSError(str(error)) from error

    def release(self) -> None:
        """Drop the handle, because OpenSlide refuses every read on a handle after one that failed."""
        self._handle = None  # not closed here, because another thread may be reading; the last user closes it

    def _open(self) -> Any:
        import openslide

        handle = self._handle
        if self._pid != os.getpid():
            # A handle must be neither used nor closed in a process that was forked from the one that opened it.
            self._inherited.append(handle)
            self._pid = os.getpid()
            handle = None
        if handle is None:
            handle = self._handle = openslide.OpenSlide(self.path)
        return handle

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_inherited": []}


class PilSource:
    """A JPEG, PNG or another image that PIL reads.

    The image is decoded at the first read and then stays in memory. Its orientation tag is not applied. PIL's dpi is
    never used: `found` is the pixel size that another reader found in the file.
    """

    doubt: str = ""
    bounds: PixelBounds | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, found: Found | None = None) -> None:
        self.path = path
        self.found = found
        self._lock = threading.Lock()
        self._decoded: Any = None
        with self._image() as image:
            width, height = image.size
            mode = image.mode
            bytes_per_px = (1 if mode in ("1", "L", "P") else 4) + _DECODER_BYTES.get(image.format, 0)
            if image.info.get("progressive"):
                bytes_per_px += _PROGRESSIVE_BYTES
        check_decoded_size(path, height, width, bytes_per_px)
        if _png_depth(path) > 8:
            mode = "16-bit"
        if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"):
            raise SlideError(f"{path}: holds {mode} pixels. Give an 8-bit RGB image of the stained section.")
        self.levels: Levels = ((1.0, (height, width)),)

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Return a window of the decoded image; raise SlideError if the file is truncated or damaged."""
        with self._lock:
            image = self._decoded = self._decoded or self._decode()
        # Only windows are converted, so that PIL's pixels are the only complete copy.
        part = image.crop((col, row, col + width, row + height))
        if "A" in image.mode or "transparency" in image.info:
            return over_white(np.asarray(part.convert("RGBA")))
        return np.array(part.convert("RGB")), None

    def _decode(self) -> Any:
        try:
            with self._image() as image:
                image.load()
        except _PIL_ERRORS as error:
            raise SlideError(
                f"{self.path}: the image cannot be decoded ({first_line(error)}). Copy or download it again."
            ) from error
        return image

    def _image(self) -> Any:
        from PIL import Image

        try:
            with pillow_limit():
                return Image.open(self.path, formats=_PIL_FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise SlideError(
                f"{self.path}: {first_line(error)}. Convert the image to a tiled, pyramidal TIFF, or {RAISE}."
            ) from error
        except _PIL_ERRORS as error:
            raise SlideError(
                f"{self.path}: is not an image that can be read: the file {describe_content(self.path)}. Give the H&E "
                "image as JPEG, PNG, TIFF, OME-TIFF or in a scanner's format that OpenSlide reads."
            ) from error

    def release(self) -> None:
        """Drop the decoded image."""
        self._decoded = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoded": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _openslide_levels(slide: Any, vendor: str) -> tuple[list[int], Levels]:
    """Return the numbers of the levels that can be used, and their factors and sizes."""
    facts = []
    for level, (width, height) in enumerate(slide.level_dimensions):
        tile = [slide.properties.get(f"openslide.level[{level}].tile-{side}", "") for side in ("height", "width")]
        tall_wide = (int(tile[0]), int(tile[1])) if all(side.isdigit() and int(side) for side in tile) else None
        facts.append(LevelFacts((height, width), tall_wide))
    number, levels = usable_levels(facts)
    if len(number) == len(facts) or vendor == "generic-tiff":
        return number, levels
    # OpenSlide knows what the levels of a scanner's own format are.
    known = dict(zip(number, levels, strict=True))
    return list(range(len(facts))), tuple(
        known.get(level, (float(slide.level_downsamples[level]), fact.size)) for level, fact in enumerate(facts)
    )


def _openslide_bounds(properties: Mapping[str, str], shape: tuple[int, int]) -> PixelBounds | None:
    """Return the scanned part of a canvas of `shape` (height, width); None if it is all of it, or is not stated."""
    texts = [properties.get(f"openslide.bounds-{name}", "") for name in ("x", "y", "width", "height")]
    if not all(text.isdigit() for text in texts):
        return None
    left, top, width, height = (int(text) for text in texts)
    inside = width > 0 and height > 0 and left + width <= shape[1] and top + height <= shape[0]
    return (left, top, width, height) if inside and (width, height) != shape[::-1] else None


def over_white(rgba: NDArray[np.uint8]) -> Pixels:
    """Return RGBA pixels (h, w, 4) as RGB over white and a mask of pixels that are not completely transparent."""
    alpha = rgba[..., 3]
    if (alpha == 255).all():
        return np.ascontiguousarray(rgba[..., :3]), None
    opacity = alpha[..., None].astype(np.float32) / 255
    rgb = rgba[..., :3] * opacity + 255 * (1 - opacity)
    return (rgb + 0.5).astype(np.uint8), alpha > 0


def _png_depth(path: Path) -> int:
    """Return the bits per sample of a PNG, of which PIL silently drops the lower half of 16; 8 for other files."""
    with path.open("rb") as file:
        head = file.read(25)
    return head[24] if head.startswith(b"\x89PNG") and len(head) == 25 else 8


def describe_content(path: Path) -> str:
    """Return what a file is, as the rest of a sentence: "is text that begins ...", "is a PDF document"."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    # Text comes first, because words can begin with a signature, such as "II" and "MM".
    text = _as_text(head)
    if text is not None and not head.startswith(b"%PDF"):
        line = next((line.strip() for line in text.splitlines() if line.strip()), "")
        return f"is text that begins {line[:_SHOWN]!r}"
    for signature, description in _SIGNATURES:
        if head.startswith(signature):
            return description
    return f"begins with the bytes {head[:8].hex(' ')}, which are not those of a known image format"


def _as_text(head: bytes) -> str | None:
    """Return bytes as text, or None if they are not text."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    for cut in range(4):  # the last letter may be incomplete
        try:
            text = head[: len(head) - cut].decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if _CONTROL.search(text) else text
    return None
