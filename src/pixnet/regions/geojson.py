"""GeoJSON read feature by feature: the cells of a capture area make files of hundreds of MB.

Python's own parser takes a text as a whole, and its lists of numbers are some ten times as large as the text. Here it
is given one feature at a time, and the corners are kept as flat arrays until all polygons are made at once.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_CHUNK = 1 << 20  # characters
_WORD = 32  # characters; a number, a name or an escape that the end of a chunk cuts is shorter
_PART = 8192  # shapes made at a time
_SPACE = " \t\r\n"


def entries(path: Path) -> Iterator[Any]:
    """Give the features of a collection or list one after another, or the only feature or geometry there is.

    Parameters
    ----------
    path
        A FeatureCollection, a list of features or geometries, a feature, or a geometry.

    Raises
    ------
    DataError
        If the file cannot be read, or is no JSON; perhaps only after some features were given.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _entries(_Text(file))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{path} is not GeoJSON: {first_line(error)}. Export or copy it again.") from error


class Outlines:
    """Polygons as flat arrays, which shapely makes of them all at once."""

    def __init__(self) -> None:
        self._xy = array("d")
        self._corners = array("q")  # of each ring
        self._rings = array("q")  # of each polygon
        self._polygons = array("q")  # of each shape
        self._multi = array("b")

    def __len__(self) -> int:
        return len(self._polygons)

    def add(self, geometry: dict[str, Any]) -> None:
        """Take the coordinates of a geometry, a Polygon or MultiPolygon.

        Raises
        ------
        ValueError, LookupError, TypeError
            If they make no polygon.
        """
        multi = geometry["type"] == "MultiPolygon"
        coordinates = geometry["coordinates"]
        # All of a shape is looked at before any of it is kept.
        polygons = [[_corners(ring) for ring in polygon] for polygon in (coordinates if multi else [coordinates])]
        polygons = [polygon for polygon in polygons if polygon]
        for polygon in polygons:
            for ring in polygon:
                self._xy.frombytes(ring.tobytes())
                self._corners.append(len(ring))
            self._rings.append(len(polygon))
        self._polygons.append(len(polygons))
        self._multi.append(multi)

    def shapes(self, moved: Callable[[Floats], Floats]) -> NDArray[np.object_]:
        """Make the polygons.

        Parameters
        ----------
        moved
            What to do with all corners, (n, 2) x and y.

        Returns
        -------
        (n,) array of shapely polygons and multipolygons, in the order they were added; empty ones where there was
        nothing in them.
        """
        import shapely

        found = np.full(len(self), shapely.Polygon(), dtype=object)
        corners, rings, polygons = (
            np.frombuffer(each, np.int64) for each in (self._corners, self._rings, self._polygons)
        )
        xy = np.frombuffer(self._xy, np.float64).reshape(-1, 2)
        # Part by part, as what shapely makes on the way takes as much memory as what is left.
        first_ring = first_corner = first_polygon = 0
        for start in range(0, len(self), _PART):
            part = slice(start, start + _PART)
            polygon = slice(first_polygon, first_polygon := first_polygon + int(polygons[part].sum()))
            ring = slice(first_ring, first_ring := first_ring + int(rings[polygon].sum()))
            corner = slice(first_corner, first_corner := first_corner + int(corners[ring].sum()))
            with np.errstate(invalid="ignore"):  # a corner that is no number is whoever uses them to judge
                made = shapely.linearrings(moved(xy[corner]), indices=_owners(corners[ring]))
            made = np.atleast_1d(shapely.polygons(made, indices=_owners(rings[polygon])))
            _gather(found[part], made, polygons[part], np.frombuffer(self._multi, np.int8)[part] == 1)
        return found


def _gather(found: NDArray[np.object_], polygons: NDArray[np.object_], count: NDArray[np.int64], multi: Bools) -> None:
    """Put polygons into the shapes that they are parts of."""
    import shapely

    first = np.cumsum(count) - count
    single = ~multi & (count == 1)
    found[single] = polygons[first[single]]
    for place in np.flatnonzero(multi & (count > 0)):
        found[place] = shapely.MultiPolygon(list(polygons[first[place] : first[place] + count[place]]))


def _corners(ring: Any) -> Floats:
    """Give (n, 2) corners of a ring; a height is left out."""
    points = np.array(ring)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or len(points) < 3 or points.dtype.kind not in "iuf":
        raise ValueError("a ring needs three or more pairs of numbers")
    if len(points) == 3 and (points[0] == points[-1]).all():
        raise ValueError("a ring needs three or more corners")
    return np.ascontiguousarray(points[:, :2], np.float64)


def _owners(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(sizes)), sizes)


class _Text:
    """The text of a file, of which only what is being parsed is held."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._decode = json.JSONDecoder().raw_decode
        self._held, self._place, self._before, self._ended = "", 0, 0, False

    def next(self) -> str:
        """Give the next character that is no space, and stay before it; an empty text at the end."""
        while True:
            while self._place < len(self._held):
                if self._held[self._place] not in _SPACE:
                    return self._held[self._place]
                self._place += 1
            if self._ended:
                return ""
            self._more(_CHUNK)

    def take(self, *wanted: str) -> str:
        """Go beyond the next character, which must be one of those."""
        found = self.next()
        if found not in wanted:
            raise self.error(f"expected {' or '.join(wanted)}")
        self._place += 1
        return found

    def value(self) -> Any:
        """Parse the value that comes next."""
        self.next()
        size = _CHUNK
        while True:
            try:
                found, end = self._decode(self._held, self._place)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_be_cut(error):
                    raise self.error(error.msg, error.pos) from None
            else:
                if end + _WORD <= len(self._held) or self._ended:  # else it may be a number that goes on
                    self._place = end
                    return found
            self._more(size)
            size *= 2  # so that a value of any size is begun again but a few times

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated") or error.pos > len(self._held) - _WORD

    def _more(self, size: int) -> None:
        new = self._file.read(size)
        self._ended = not new
        self._before += self._place
        self._held, self._place = self._held[self._place :] + new, 0

    def error(self, what: str, place: int | None = None) -> ValueError:
        """Say what is wrong, and where: at the next character if not told."""
        return ValueError(f"{what} at character {self._before + (self._place if place is None else place)}")


def _entries(text: _Text) -> Iterator[Any]:
    first = text.next()
    if first == "[":
        yield from _elements(text)
    elif first == "{":
        yield from _members(text)
    else:
        yield text.value()
    if text.next():
        raise text.error("the file goes on after its end")


def _elements(text: _Text) -> Iterator[Any]:
    """Give the elements of a list one after another."""
    text.take("[")
    if text.next() == "]":
        text.take("]")
        return
    yield text.value()
    while text.take(",", "]") == ",":
        yield text.value()


def _members(text: _Text) -> Iterator[Any]:
    """Give the features of an object one after another, or all of it if it holds none."""
    members: dict[str, Any] = {}
    collection = False
    text.take("{")
    ends = text.next() == "}"
    if ends:
        text.take("}")
    while not ends:
        key = text.value()
        if not isinstance(key, str):
            raise ValueError(f"a name was expected, not {key!r}"[:80])
        text.take(":")
        if key == "features" and text.next() == "[":
            collection = True
            yield from _elements(text)
        else:
            members[key] = text.value()
        ends = text.take(",", "}") == "}"
    if not collection:
        yield members.get("features") if members.get("type") == "FeatureCollection" else members
