"""Pixels of a TIFF or OME-TIFF that is not of a scanner's own format.

Tiles are read one by one. An image without tiles is decoded once. A file may hold several images, such as a picture of
the glass slide with its label; the largest that can be a slide is taken for it.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import SlideError, first_line
from pixnet.slide.decode_limit import check_decoded_size
from pixnet.slide.frame import PixelBounds
from pixnet.slide.pixel_size import from_tiff, from_tiff_file
from pixnet.slide.pyramid import LevelFacts, usable_levels
from pixnet.slide.sources import ArraySource, Pixels, over_white

_ALPHA = {1, 2}  # of ExtraSamples: associated and unassociated
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR = 0, 1, 2, 6  # of PhotometricInterpretation
_JPEG = (6, 7, 33007)  # of Compression: their decoders return RGB
_SEPARATE = 2  # of PlanarConfiguration: a plane for each channel
_LARGEST_TILE = 1 << 26  # pixels; a damaged directory can state any number
_AXES = ("YX", "YXS", "SYX", "CYX")
_SIMILAR = 0.5  # an image with at least this share of the slide's pixels may be meant as well


@dataclass(frozen=True)
class _Level:
    """A level of the pyramid: the page that describes all its pages, and the pages, one for each channel if several."""

    frame: Any
    pages: list[Any]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.frame.imagelength), int(self.frame.imagewidth)

    @property
    def planes(self) -> int:
        """Number of planes of a page."""
        return int(self.frame.samplesperpixel) if self.frame.planarconfig == _SEPARATE else 1

    @property
    def channels(self) -> int:
        """Number of channels of all pages."""
        return int(self.frame.samplesperpixel) * len(self.pages)


class TiffSource:
    """A TIFF or OME-TIFF read by tifffile."""

    bounds: PixelBounds | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._opened: tuple[Any, list[_Level]] | None = None
        self._pid = os.getpid()
        self._inherited: list[Any] = []
        self._decoded: dict[int, ArraySource] = {}
        self._series, self._number = 0, [0]
        tif, _ = self._open()
        try:
            self._series, self.notes = self._choose(tif)
            levels = _levels(tif.series[self._series])
            for level in levels:
                self._check(level)
        except SlideError:
            self.release()
            raise
        self._number, self.levels = usable_levels(_facts(levels))
        self._opened = tif, [levels[number] for number in self._number]
        xml, shape = tif.ome_metadata if tif.is_ome else None, levels[0].size
        self.found, self.doubt = from_tiff_file(
            xml, shape, levels[0].frame.description, resolution_tags(levels[0].frame)
        )

    def read(self, level: int, row: int, col: int, height: int, width: int) -> Pixels:
        """Return a window of a level; tiles that are not in the file are without data."""
        layout = self._level(level)
        if not layout.frame.is_tiled:
            return self._decode(level).read(0, row, col, height, width)
        samples = np.zeros((height, width, layout.channels), np.uint8)
        stored = np.ones((height, width), bool)
        for target, part, index in _tiles(layout, row, col, height, width):
            channel = 0
            for page in range(len(layout.pages)):
                for plane in range(layout.planes):
                    tile = self._tile(level, page, plane, index)
                    if tile is None:
                        stored[target] = False
                        continue
                    window = samples[(*target, slice(channel, channel + tile.shape[-1]))]
                    if window.shape != tile[part].shape:
                        raise OSError(f"the tile at {index} has the wrong size")
                    window[...] = tile[part]
                    channel += tile.shape[-1]
        return _rgb(samples, layout.frame, stored)

    def release(self) -> None:
        """Close the file and drop the decoded images."""
        with self._lock:
            if self._opened is not None and self._pid == os.getpid():
                self._opened[0].close()
                self._opened = None
            self._decoded = {}

    def _tile(self, level: int, page: int, plane: int, index: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Return a tile, shape (height, width, samples); None if it is not in the file."""
        layout = self._level(level)
        frame, source = layout.frame, layout.pages[page]
        down, across = (-(-a // b) for a, b in zip(layout.size, (frame.tilelength, frame.tilewidth), strict=True))
        segment = (plane * down + index[0]) * across + index[1]
        try:
            offset, count = source.dataoffsets[segment], source.databytecounts[segment]
            if not count:
                return None
            with self._lock:
                file = self._open()[0].filehandle
                file.seek(offset)
                data = file.read(count)
            tile = frame.decode(data, segment, jpegtables=source.jpegtables)[0]
        except Exception as error:  # each codec has its own exceptions for damaged data
            raise OSError(first_line(error)) from error
        return None if tile is None else np.asarray(tile[0], np.uint8)

    def _decode(self, level: int) -> ArraySource:
        """Return a level without tiles, decoded at the first call."""
        with self._lock:
            if level not in self._decoded:
                layout = self._level(level)
                try:
                    pages = [page.asarray() for page in layout.pages]
                except Exception as error:  # each codec has its own exceptions for damaged data
                    raise SlideError(
                        f"{self.path}: the image cannot be decoded ({first_line(error)}). Copy or download it again."
                    ) from error
                samples = np.stack(pages, axis=-1) if len(pages) > 1 else pages[0]
                if samples.ndim == 3 and layout.planes > 1:
                    samples = np.moveaxis(samples, 0, -1)
                if samples.shape[:2] != layout.size:
                    raise SlideError(
                        f"{self.path}: the image cannot be decoded (its pixels have the shape {samples.shape}, not "
                        f"{layout.size}). Copy or download it again."
                    )
                self._decoded[level] = ArraySource(*_rgb(samples, layout.frame, None))
            return self._decoded[level]

    def _choose(self, tif: Any) -> tuple[int, tuple[str, ...]]:
        """Return the number of the image that is the slide, and a note if another one could be meant."""
        sizes = [math.prod(_Level(series.keyframe, list(series.pages)).size) for series in tif.series]
        order = sorted(range(len(sizes)), key=lambda number: -sizes[number])
        suitable = [number for number in order if _is_picture(tif.series[number])]
        if not suitable or sizes[suitable[0]] < _SIMILAR * sizes[order[0]]:
            series = tif.series[order[0]]
            frame = series.keyframe
            colours = getattr(frame.photometric, "name", frame.photometric)
            raise SlideError(
                f"{self.path}: holds {frame.dtype} pixels of shape {series.shape} (axes {series.axes}, {colours}). "
                "Give an 8-bit RGB image of the stained section."
            )
        chosen = suitable[0]
        others = [number for number in suitable[1:] if sizes[number] >= _SIMILAR * sizes[chosen]]
        if chosen and not others:
            others = [0]
        if not others:
            return chosen, ()
        taken, other = (_described(tif.series[number], number) for number in (chosen, others[0]))
        return chosen, (f"of its {len(sizes)} images, the largest is taken for the slide: {taken}, not {other}",)

    def _check(self, level: _Level) -> None:
        """Check that the file holds all pixels of a level, and that its directory is sound."""
        self._check_layout(level)
        size = self.path.stat().st_size
        ends = (
            offset + count
            for page in level.pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
        end = max(ends, default=0)
        if end > size:
            raise SlideError(
                f"{self.path}: is truncated: its pixels end at byte {end}, but the file ends at byte {size}. "
                "Copy or download it again."
            )

    def _check_layout(self, level: _Level) -> None:
        """Check that the sizes that the directory states fit each other and the memory."""
        frame, (height, width) = level.frame, level.size
        damaged = height <= 0 or width <= 0
        if frame.is_tiled and not damaged:
            tall, wide = int(frame.tilelength), int(frame.tilewidth)
            damaged = not (tall > 0 and wide > 0 and tall * wide <= _LARGEST_TILE)
            tiles = 0 if damaged else -(-height // tall) * -(-width // wide) * level.planes
            damaged = damaged or any(len(page.dataoffsets) != tiles for page in level.pages)
        elif not damaged:
            check_decoded_size(self.path, height, width)
        if damaged or any(len(page.dataoffsets) != len(page.databytecounts) for page in level.pages):
            raise SlideError(f"{self.path}: the TIFF's directory contradicts itself. Copy or download the file again.")

    def _level(self, level: int) -> _Level:
        return self._open()[1][level]

    def _open(self) -> tuple[Any, list[_Level]]:
        import tifffile

        if self._pid != os.getpid():
            # A forked process shares the file's position with its parent. So it must neither use nor close the parent's
            # handle, nor use a lock that a thread of the parent may have held.
            self._inherited.append(self._opened)
            self._pid = os.getpid()
            self._opened = None
            self._lock = threading.RLock()
        with self._lock:
            if self._opened is None:
                try:
                    tif = tifffile.TiffFile(self.path)
                    levels = _levels(tif.series[self._series])
                    levels = [levels[number] for number in self._number]
                except (tifffile.TiffFileError, IndexError, KeyError, ValueError) as error:
                    raise OSError(first_line(error)) from error
                self._opened = tif, levels
            return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_inherited": [], "_lock": None, "_decoded": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()


def _levels(series: Any) -> list[_Level]:
    return [_Level(level.keyframe, list(level.pages)) for level in series.levels]


def _is_picture(series: Any) -> bool:
    """Return whether all levels of an image are of 8-bit RGB or grey pixels."""
    return all(_is_8_bit(_Level(level.keyframe, list(level.pages)), level.axes) for level in series.levels)


def _is_8_bit(level: _Level, axes: str) -> bool:
    frame, channels = level.frame, level.channels
    grey = frame.photometric in (_BLACK_IS_ZERO, _WHITE_IS_ZERO) and channels in (1, 3)
    rgb = frame.photometric == _RGB or (frame.photometric == _YCBCR and frame.compression in _JPEG)
    one_page = len(level.pages) == 1 or int(frame.samplesperpixel) == 1
    return bool(frame.dtype == np.uint8 and axes in _AXES and channels in (1, 3, 4) and one_page and (grey or rgb))


def _facts(levels: list[_Level]) -> list[LevelFacts]:
    """Return what the directories state about levels, finest first."""
    sizes_um = [from_tiff(resolution_tags(level.frame)) for level in levels]
    facts = []
    for level, size_um in zip(levels, sizes_um, strict=True):
        frame, base = level.frame, sizes_um[0]
        tile = (int(frame.tilelength), int(frame.tilewidth)) if frame.is_tiled else None
        facts.append(LevelFacts(level.size, tile, size_um[0] / base[0] if size_um and base else None))
    return facts


def _described(series: Any, number: int) -> str:
    """Return an image's number, its name if it has one, and its size."""
    name = f" {series.name!r}" if series.name else ""
    height, width = _Level(series.keyframe, list(series.pages)).size
    return f"image {number + 1}{name} of {width} x {height} px"


def resolution_tags(page: Any) -> dict[str, Any]:
    """Return the values of a page's resolution tags."""
    names = ("XResolution", "YResolution", "ResolutionUnit")
    return {name: page.tags[name].value for name in names if name in page.tags}


def _tiles(
    level: _Level, row: int, col: int, height: int, width: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], tuple[int, int]]]:
    """Yield the tiles under a window: the part of the window, the part of the tile, and its row and column."""
    tall, wide = int(level.frame.tilelength), int(level.frame.tilewidth)
    for i in range(row // tall, -(-(row + height) // tall)):
        for j in range(col // wide, -(-(col + width) // wide)):
            top, bottom = max(i * tall, row), min((i + 1) * tall, row + height)
            left, right = max(j * wide, col), min((j + 1) * wide, col + width)
            target = slice(top - row, bottom - row), slice(left - col, right - col)
            part = slice(top - i * tall, bottom - i * tall), slice(left - j * wide, right - j * wide)
            yield target, part, (i, j)


def _rgb(samples: NDArray[np.uint8], frame: Any, stored: NDArray[np.bool_] | None) -> Pixels:
    """Return the samples of a TIFF, (h, w, channels), as RGB and a mask."""
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.shape[-1] == 1:
        grey = 255 - samples if frame.photometric == _WHITE_IS_ZERO else samples
        return np.repeat(grey, 3, axis=-1), stored
    if samples.shape[-1] == 4 and {int(kind) for kind in frame.extrasamples} & _ALPHA:
        rgb, valid = over_white(samples)
        if valid is None:
            return rgb, stored
        return rgb, valid if stored is None else stored & valid
    return np.ascontiguousarray(samples[..., :3]), stored
