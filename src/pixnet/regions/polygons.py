"""Polygons with or without holes as regions, also from GeoJSON files as QuPath exports them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse
from shapely import MultiPolygon, Polygon

from pixnet.errors import DataError, PixNetWarning
from pixnet.grid import Grid
from pixnet.regions.base import Regions, positive_number
from pixnet.regions.coverage import BATCH, CoverageBuilder, Floats, batches
from pixnet.regions.coverage_edges import add_edges
from pixnet.regions.geojson import Outlines, read_features


class Polygons(Regions):
    """Regions with straight edges, any number of parts and any number of holes.

    Parameters
    ----------
    shapes
        Shapely polygons or multipolygons, with coordinates in um.
    names
        Name of each polygon; "region 1", "region 2", ... by default.
    classes
        Class of each polygon, such as a tissue; None for a polygon without a class. By default no polygon has one.

    Raises
    ------
    DataError
        If a shape is not a polygon, is empty, has no area or is not finite, or if there is not one name and one class
        for each polygon.

    Warns
    -----
    PixNetWarning
        If an outline crosses itself. It is then repaired by `shapely.make_valid`.
    """

    _per_region = ("shapes", "_names", "_classes")

    def __init__(
        self,
        shapes: Sequence[Polygon | MultiPolygon] | NDArray[np.object_],
        names: Sequence[str] | None = None,
        classes: Sequence[str | None] | None = None,
    ) -> None:
        if names is None:
            names = [f"region {i + 1}" for i in range(len(shapes))]
        if classes is None:
            classes = [None] * len(shapes)
        for argument, values in (("names", names), ("classes", classes)):
            if len(values) != len(shapes):
                raise DataError(f"{len(values)} {argument} were given for {len(shapes)} polygons; give one for each")
        self.shapes: NDArray[np.object_] = _checked(shapes)
        self._names: NDArray[np.object_] = np.array([str(name) for name in names], dtype=object)
        self._classes: NDArray[np.object_] = np.array(list(classes), dtype=object)

    @classmethod
    def from_geojson(cls, path: str | Path, um_per_unit: float) -> Self:
        """Read a GeoJSON file: a FeatureCollection, a list of features, a feature, or a bare geometry.

        A region is named by the first of these that its feature has: `properties.name`, the barcode that Space Ranger
        makes of `properties.cell_id`, and its class, `properties.classification.name`.

        Parameters
        ----------
        path
            Path of the file. QuPath exports such files in full-resolution pixels of the slide.
        um_per_unit
            Size of the file's unit in um. For pixels, this is the slide's um per pixel.

        Raises
        ------
        DataError
            If the file cannot be read, is not GeoJSON, has no polygon, or holds a geometry that is not a polygon.
        """
        scale = positive_number("um_per_unit", um_per_unit)
        outlines = Outlines()
        names, classes = [], []
        for index, (geometry, properties) in enumerate(_features(Path(path))):
            kind = geometry.get("type") if isinstance(geometry, dict) else None
            if kind not in ("Polygon", "MultiPolygon"):
                raise DataError(
                    f"{path}: feature {index} is of type {kind}; only Polygon and MultiPolygon can be regions"
                )
            try:
                outlines.add(geometry)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                raise DataError(f"{path}: the coordinates of feature {index} are not a polygon ({error})") from None
            properties = properties if isinstance(properties, dict) else {}
            classes.append(_class(properties))
            names.append(_name(properties) or classes[-1] or f"region {index + 1}")
        if not names:
            raise DataError(f"{path} does not hold a polygon; draw at least one and export it again")
        try:
            return cls(outlines.shapes(lambda xy: xy * scale), names, classes)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the regions."""
        return tuple(self._names)

    @property
    def classes(self) -> tuple[str | None, ...]:
        """Class of each region; None for a region without a class."""
        return tuple(self._classes)

    def by_class(self) -> Self:
        """Return one region for each class, in alphabetical order: the union of its polygons.

        Raises
        ------
        DataError
            If no polygon has a class.

        Warns
        -----
        PixNetWarning
            If some polygons have no class. They are left out.
        """
        present = sorted({name for name in self._classes if name})
        if not present:
            raise DataError(f"none of the {len(self)} polygons has a class; assign classes, or use each polygon alone")
        if n_without := sum(not name for name in self._classes):
            warnings.warn(
                f"{n_without} of {len(self)} polygons have no class and are left out", PixNetWarning, stacklevel=2
            )
        return type(self)([shapely.union_all(self.shapes[self._classes == name]) for name in present], present, present)

    @property
    def centers_um(self) -> Floats:
        """Centroids: x and y in um, shape (n, 2). The centroid of a ring is in its hole."""
        return np.asarray(shapely.get_coordinates(shapely.centroid(self.shapes)), dtype=np.float64).reshape(-1, 2)

    @property
    def areas_um2(self) -> Floats:
        """Areas without the holes in um^2, shape (n,)."""
        return np.asarray(shapely.area(self.shapes), dtype=np.float64)

    @property
    def bounds_um(self) -> Floats:
        """Left, top, right and bottom edges in um, shape (n, 4)."""
        return np.asarray(shapely.bounds(self.shapes), dtype=np.float64).reshape(-1, 4)

    def coverage(self, grid: Grid) -> sparse.csr_array[np.float64]:
        """Return the areas of the polygons within the pixels of a grid in um^2; see `Regions.coverage`."""
        builder = CoverageBuilder(len(self), grid)
        left, top, right, bottom = grid.bounds_um
        low_x, low_y, high_x, high_y = self.bounds_um.T
        near = np.flatnonzero((high_x > left) & (low_x < right) & (high_y > top) & (low_y < bottom))
        shapes = self.shapes[near]
        pieces = 2 * shapely.get_num_coordinates(shapes) + 2 * shapely.length(shapes) / grid.pitch_um
        for part in batches(np.minimum(pieces, BATCH).astype(np.int64)):
            # Only polygons have rings, so multipolygons are split into their parts first.
            polygons, shape_of = shapely.get_parts(shapes[part], return_index=True)
            rings, polygon_of = shapely.get_rings(polygons, return_index=True)
            points, ring_of = shapely.get_coordinates(rings, return_index=True)
            edge = np.flatnonzero(ring_of[1:] == ring_of[:-1])
            region = near[part][shape_of[polygon_of[ring_of[edge]]]]
            add_edges(builder, region, points[edge], points[edge + 1])
        return builder.build()


def _checked(shapes: Sequence[Polygon | MultiPolygon] | NDArray[np.object_]) -> NDArray[np.object_]:
    """Return valid polygons whose outer rings have positive area; raise DataError for a shape that cannot be used."""
    result = np.empty(len(shapes), dtype=object)
    result[:] = list(shapes)
    for index, shape in enumerate(result):
        if not isinstance(shape, Polygon | MultiPolygon):
            kind = getattr(shape, "geom_type", type(shape).__name__)
            raise DataError(f"polygon {index} is of type {kind}; only Polygon and MultiPolygon can be regions")
        if shape.is_empty:
            raise DataError(f"polygon {index} is empty; leave it out")
    parts = list(batches(shapely.get_num_coordinates(result), BATCH // 4))
    for part in parts:
        points, shape_of = shapely.get_coordinates(result[part], return_index=True)
        broken = shape_of[~np.isfinite(points).all(axis=1)]
        if len(broken):
            first = part.start + broken[0]
            raise DataError(f"polygon {first} has a coordinate that is not finite; leave it out or correct it")
    invalid = np.flatnonzero(~shapely.is_valid(result))
    for index in map(int, invalid):
        result[index] = _repaired(result[index], index)
    if len(invalid):
        warnings.warn(
            f"{len(invalid)} of {len(result)} polygons cross or touch themselves (the first is polygon {invalid[0]}); "
            "they were repaired by shapely.make_valid",
            PixNetWarning,
            stacklevel=3,
        )
    for part in parts:
        result[part] = shapely.orient_polygons(shapely.force_2d(result[part]), exterior_cw=False)
    return result


def _repaired(shape: Polygon | MultiPolygon, index: int) -> Polygon | MultiPolygon:
    """Return the area of an invalid polygon as a valid one; drop lines and points that result."""
    # The structure method unites parts that overlap. The default method would make holes of them.
    valid = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    parts = shapely.get_parts(shapely.get_parts(valid))
    areas = [part for part in parts if isinstance(part, Polygon) and part.area > 0]
    if not areas:
        raise DataError(f"polygon {index} has no area; leave it out or draw it again")
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)


def _features(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield geometry and properties of each feature of a GeoJSON file."""
    for index, feature in enumerate(read_features(path)):
        if not isinstance(feature, dict):
            raise DataError(
                f"{path} is not GeoJSON: a feature was expected at index {index}, not {type(feature).__name__}"
            )
        if feature.get("type") == "Feature":
            yield feature.get("geometry"), feature.get("properties")
        else:
            yield feature, None


def _class(properties: dict[str, Any]) -> str | None:
    """Return the name of the class in a feature's properties."""
    classification = properties.get("classification")
    name = classification.get("name") if isinstance(classification, dict) else classification
    return str(name) if name else None


def _name(properties: dict[str, Any]) -> str | None:
    """Return the name in a feature's properties, or the barcode that Space Ranger makes of the number of a cell."""
    if properties.get("name"):
        return str(properties["name"])
    number = properties.get("cell_id")
    return f"cellid_{number:09d}-1" if type(number) is int and number >= 0 else None
