"""Read GeoJSON feature by feature, because the cells of a capture area make files of hundreds of MB.

The parser of the standard library needs the complete text, and its lists of numbers take about ten times the size of
the text. Here it gets one feature at a time, and the corners are stored in flat arrays until all polygons are made.

The incremental parser ijson is not used, because it has no limit to the depth of nested lists (200 kB of "[" exhaust
the memory), does not read NaN, and does not report where in the file an error is.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import shapely
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.regions.packed_text import open_text

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_CHUNK = 1 << 20  # characters
_WORD = 32  # characters; longer than a number, a literal or an escape sequence that the end of a chunk may cut
_PART = 8192  # shapes made at a time
_SPACE = " \t\r\n"


def read_features(path: Path) -> Iterator[Any]:
    """Yield the features of a collection or list one by one, or the only feature or geometry of the file.

    The file may be packed, and of any encoding that `open_text` knows. DataError is raised if it cannot be read, or is
    not JSON; possibly after some features were yielded.
    """
    try:
        with open_text(path, (".geojson", ".json")) as file:
            yield from _features(_Text(file))
    except (ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{path} is not GeoJSON: {first_line(error)}. Export or copy it again.") from error


class Outlines:
    """Outlines of polygons in flat arrays, from which shapely makes all polygons at once."""

    def __init__(self) -> None:
        self._xy = array("d")
        self._corners = array("q")  # number of corners of each ring
        self._rings = array("q")  # number of rings of each polygon
        self._polygons = array("q")  # number of polygons of each shape
        self._multi = array("b")  # whether each shape is a multipolygon

    def __len__(self) -> int:
        return len(self._polygons)

    def add(self, geometry: dict[str, Any]) -> None:
        """Add a Polygon or MultiPolygon; raise ValueError, LookupError or TypeError if it is not one."""
        multi = geometry["type"] == "MultiPolygon"
        coordinates = geometry["coordinates"]
        # The complete shape is checked before any part of it is stored.
        polygons = [[_corners(ring) for ring in polygon] for polygon in (coordinates if multi else [coordinates])]
        polygons = [polygon for polygon in polygons if polygon]
        for polygon in polygons:
            for ring in polygon:
                self._xy.frombytes(ring.tobytes())
                self._corners.append(len(ring))
            self._rings.append(len(polygon))
        self._polygons.append(len(polygons))
        self._multi.append(multi)

    def shapes(self, transform: Callable[[Floats], Floats]) -> NDArray[np.object_]:
        """Return the shapely polygons and multipolygons, shape (n,), in the order they were added.

        `transform` is applied to the corners (n, 2). A shape without rings is an empty polygon.
        """
        shapes = np.full(len(self), shapely.Polygon(), dtype=object)
        corners = np.frombuffer(self._corners, np.int64)
        rings = np.frombuffer(self._rings, np.int64)
        polygons = np.frombuffer(self._polygons, np.int64)
        multi = np.frombuffer(self._multi, np.int8) == 1
        xy = np.frombuffer(self._xy, np.float64).reshape(-1, 2)
        # Part by part, because shapely's temporary objects take as much memory as the result.
        first_ring = first_corner = first_polygon = 0
        for start in range(0, len(self), _PART):
            part = slice(start, start + _PART)
            polygon = slice(first_polygon, first_polygon := first_polygon + int(polygons[part].sum()))
            ring = slice(first_ring, first_ring := first_ring + int(rings[polygon].sum()))
            corner = slice(first_corner, first_corner := first_corner + int(corners[ring].sum()))
            with np.errstate(invalid="ignore"):  # the caller checks for corners that are not finite
                made = shapely.linearrings(transform(xy[corner]), indices=_owners(corners[ring]))
            made = np.atleast_1d(shapely.polygons(made, indices=_owners(rings[polygon])))
            _gather(shapes[part], made, polygons[part], multi[part])
        return shapes


def _gather(shapes: NDArray[np.object_], polygons: NDArray[np.object_], count: NDArray[np.int64], multi: Bools) -> None:
    """Put polygons into the shapes that they are parts of; `count` is the number of polygons of each shape."""
    first = np.cumsum(count) - count
    single = ~multi & (count == 1)
    shapes[single] = polygons[first[single]]
    for index in np.flatnonzero(multi & (count > 0)):
        shapes[index] = shapely.MultiPolygon(list(polygons[first[index] : first[index] + count[index]]))


def _corners(ring: Any) -> Floats:
    """Return the corners of a ring, (n, 2), without a third coordinate."""
    points = np.array(ring)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or len(points) < 3 or points.dtype.kind not in "iuf":
        raise ValueError("a ring needs three or more pairs of numbers")
    if not np.isfinite(points[[0, -1]]).all():  # whether it is closed would not be known
        raise ValueError("a corner is not finite")
    if len(points) == 3 and (points[0] == points[-1]).all():
        raise ValueError("a ring needs three or more corners")
    return np.ascontiguousarray(points[:, :2], np.float64)


def _owners(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each part, the index of the item that it belongs to; `sizes` is the number of parts of each item."""
    return np.repeat(np.arange(len(sizes)), sizes)


class _Text:
    """The text of a file, of which only the part being parsed is in memory."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._decode = json.JSONDecoder().raw_decode
        self._buffer = ""
        self._position = 0  # in the buffer
        self._offset = 0  # of the buffer in the file
        self._at_end = False

    def next(self) -> str:
        """Return the next character that is not a space, without consuming it; an empty string at the end."""
        while True:
            while self._position < len(self._buffer):
                if self._buffer[self._position] not in _SPACE:
                    return self._buffer[self._position]
                self._position += 1
            if self._at_end:
                return ""
            self._read(_CHUNK)

    def take(self, *expected: str) -> str:
        """Consume and return the next character, which must be one of the expected ones."""
        character = self.next()
        if character not in expected:
            raise self.error(f"expected {' or '.join(expected)}")
        self._position += 1
        return character

    def value(self) -> Any:
        """Parse and return the next value."""
        self.next()
        size = _CHUNK
        while True:
            try:
                value, end = self._decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                if self._at_end or not self._may_be_cut(error):
                    raise self.error(error.msg, error.pos) from None
            else:
                if end + _WORD <= len(self._buffer) or self._at_end:  # else it may be a number that continues
                    self._position = end
                    return value
            self._read(size)
            size *= 2  # so that a large value is parsed only a few times

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated") or error.pos > len(self._buffer) - _WORD

    def _read(self, size: int) -> None:
        """Drop the parsed part of the buffer and append up to `size` characters of the file."""
        chunk = self._file.read(size)
        self._at_end = not chunk
        self._offset += self._position
        self._buffer = self._buffer[self._position :] + chunk
        self._position = 0

    def error(self, problem: str, position: int | None = None) -> ValueError:
        """Return an error that states the problem and its place in the file; by default the next character."""
        position = self._position if position is None else position
        return ValueError(f"{problem} at character {self._offset + position}")


def _features(text: _Text) -> Iterator[Any]:
    first = text.next()
    if first == "[":
        yield from _elements(text)
    elif first == "{":
        yield from _members(text)
    else:
        yield text.value()
    if text.next():
        raise text.error("there is more text after the end of the JSON")


def _elements(text: _Text) -> Iterator[Any]:
    """Yield the elements of a list."""
    text.take("[")
    if text.next() == "]":
        text.take("]")
        return
    yield text.value()
    while text.take(",", "]") == ",":
        yield text.value()


def _members(text: _Text) -> Iterator[Any]:
    """Yield the features of an object, or the complete object if it has no list of features."""
    members: dict[str, Any] = {}
    is_collection = False
    text.take("{")
    is_complete = text.next() == "}"
    if is_complete:
        text.take("}")
    while not is_complete:
        key = text.value()
        if not isinstance(key, str):
            raise ValueError(f"a name was expected, not {key!r}"[:80])
        text.take(":")
        if key == "features" and text.next() == "[":
            is_collection = True
            yield from _elements(text)
        else:
            members[key] = text.value()
        is_complete = text.take(",", "}") == "}"
    if not is_collection:
        yield members.get("features") if members.get("type") == "FeatureCollection" else members
