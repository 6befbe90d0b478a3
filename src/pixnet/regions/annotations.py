"""Features of a GeoJSON file as regions: their outlines, names and classes, as the usual programs write them.

What is not a polygon (a line that measures a distance, points that count cells, an object without an outline) is left
out and counted, so that it does not cost the polygons beside it.
"""

from __future__ import annotations

import ast
import json
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.regions.geojson import Floats, Outlines, read_features

_POLYGONS = ("Polygon", "MultiPolygon")
# Properties that hold the class, as QuPath, geopandas and others write it, and its names within them.
_CLASS_KEYS = ("classification", "class", "pathclass")
_CLASS_NAMES = ("name", "names")
_BETWEEN_NAMES = ": "  # as QuPath shows a derived class, "Tumor: Positive"
_LONGEST_TEXT = 2000  # characters of a class that may be a table written as text
_MOST_NAMED = 3  # of the features that are left out
_LEAST_CELLS = 10
_CELL_UM = (2.5, 80.0)


@dataclass
class Annotations:
    """The polygons of a file in its own unit, with a name and a class (or None) for each, and what was left out."""

    outlines: Outlines = field(default_factory=Outlines)
    names: list[str] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    is_cell: array[int] = field(default_factory=lambda: array("b"))
    left_out: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    total: int = 0

    @classmethod
    def read(cls, path: Path) -> Annotations:
        """Read a GeoJSON file; raise DataError if it cannot be read or holds no polygon."""
        found = cls()
        for index, feature in enumerate(read_features(path)):
            found._add(index, feature)
        if not found.total:
            raise DataError(f"{path} does not hold a polygon; draw at least one and export it again")
        if not found.names:
            raise DataError(f"{path} does not hold a polygon that can be used: {found.summary}. Export polygons")
        return found

    def shapes(self, transform: Callable[[Floats], Floats]) -> NDArray[np.object_]:
        """Return the outlines as shapely polygons, shape (n,), with `transform` applied to the corners (n, 2)."""
        return self.outlines.shapes(transform)

    def leave_out(self, problems: Mapping[int, str]) -> None:
        """Leave out the polygons of some indices, for reasons such as "has no area"."""
        for index, problem in problems.items():
            self._leave_out(f"that {problem}", self.names[index])
        kept = [index not in problems for index in range(len(self.names))]
        self.names, self.classes = list(compress(self.names, kept)), list(compress(self.classes, kept))
        self.is_cell = array("b", compress(self.is_cell, kept))

    @property
    def summary(self) -> str:
        """What is left out, as part of a sentence; empty if nothing is."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.left_out.items())
        return f"{kinds} (such as {', '.join(self.examples)})" if kinds else ""

    def odd_cells(self, areas_um2: Floats) -> str:
        """Return what is odd about the size of the features that are cells; empty if nothing is, or there are few."""
        areas = areas_um2[np.frombuffer(self.is_cell, np.int8) == 1]
        if len(areas) < _LEAST_CELLS:
            return ""
        width = float(np.median(2 * np.sqrt(areas / np.pi)))
        if _CELL_UM[0] <= width <= _CELL_UM[1]:
            return ""
        return (
            f"its {len(areas)} cells would be {width:.2g} um wide, but cells are {_CELL_UM[0]:g} to {_CELL_UM[1]:g} um "
            "wide: its coordinates may be in another unit than was assumed"
        )

    def _add(self, index: int, feature: Any) -> None:
        self.total += 1
        geometry = feature
        if isinstance(feature, dict) and feature.get("type") == "Feature":
            geometry = feature.get("geometry")
        properties = _properties(feature)
        class_ = class_of(properties)
        name = _name(properties) or class_ or f"region {index + 1}"
        shape = _polygonal(geometry)
        if shape is None:
            kind = geometry.get("type") if isinstance(geometry, dict) else None
            self._leave_out(f"of type {str(kind)[:40]}" if kind else "without a geometry", name)
            return
        try:
            self.outlines.add(shape)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            self._leave_out("with coordinates that are not those of a polygon", name)
            return
        self.names.append(name)
        self.classes.append(class_)
        self.is_cell.append(properties.get("objectType") == "cell" or type(properties.get("cell_id")) is int)

    def _leave_out(self, problem: str, name: str) -> None:
        self.left_out[problem] += 1
        if len(self.examples) < _MOST_NAMED:
            self.examples.append(repr(name[:40]))


def is_from_qupath(path: Path) -> bool:
    """Return whether a GeoJSON file was written by QuPath, by the first feature that is an object with properties."""
    for feature in read_features(path):
        if properties := _properties(feature):
            # Before version 0.3 the id named the class of the object instead.
            return "objectType" in properties or str(feature.get("id", "")).startswith("Path")
    return False


def class_of(properties: Mapping[str, Any]) -> str | None:
    """Return the name of the class in a feature's properties, however it is spelled; None if there is none."""
    lower = {key.lower(): value for key, value in properties.items()}
    found = next((lower[key] for key in _CLASS_KEYS if lower.get(key)), None)
    if isinstance(found, str) and found.lstrip().startswith("{"):
        found = _table_in(found) or found
    if isinstance(found, Mapping):
        found = next((found[key] for key in _CLASS_NAMES if found.get(key)), None)
    if isinstance(found, Sequence) and not isinstance(found, str):
        found = _BETWEEN_NAMES.join(str(part) for part in found if part is not None)
    return str(found) if found else None


def _table_in(text: str) -> dict[str, Any] | None:
    """Return the table that a text holds as JSON or as Python writes one; None if it holds none."""
    if len(text) > _LONGEST_TEXT:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            table = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(table, dict):
            return table
    return None


def _properties(feature: Any) -> Mapping[str, Any]:
    properties = feature.get("properties") if isinstance(feature, dict) and feature.get("type") == "Feature" else None
    return properties if isinstance(properties, dict) else {}


def _polygonal(geometry: Any) -> dict[str, Any] | None:
    """Return a geometry that is a polygon, or the polygons of a collection as one; None if there is none."""
    if not isinstance(geometry, dict):
        return None
    if geometry.get("type") in _POLYGONS:
        return geometry
    members = geometry.get("geometries") if geometry.get("type") == "GeometryCollection" else None
    polygons: list[Any] = []
    for member in members if isinstance(members, list) else []:
        if isinstance(member, dict) and member.get("type") in _POLYGONS and isinstance(member.get("coordinates"), list):
            polygons += member["coordinates"] if member["type"] == "MultiPolygon" else [member["coordinates"]]
    return {"type": "MultiPolygon", "coordinates": polygons} if polygons else None


def _name(properties: Mapping[str, Any]) -> str | None:
    """Return the name in a feature's properties, or the barcode that Space Ranger makes of the number of a cell."""
    if properties.get("name"):
        return str(properties["name"])
    number = properties.get("cell_id")
    return f"cellid_{number:09d}-1" if type(number) is int and number >= 0 else None
