"""Polygons with or without holes as regions, also from GeoJSON files as QuPath exports them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse
from shapely import MultiPolygon, Polygon

from pixnet.errors import DataError, PixNetWarning
from pixnet.grid import Grid
from pixnet.regions.annotations import Annotations
from pixnet.regions.base import Regions, finite_array, positive_number
from pixnet.regions.coverage import BATCH, CoverageBuilder, Floats, batches
from pixnet.regions.coverage_edges import add_edges
from pixnet.regions.tangles import is_tangled


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
    def from_geojson(cls, path: str | Path, um_per_unit: float, origin_um: tuple[float, float] = (0.0, 0.0)) -> Self:
        """Read a GeoJSON file: a FeatureCollection, a list of features, a feature, or a bare geometry.

        The file may be packed (`.gz`, or one file in a `.zip`). A region is named by the first of these that its
        feature has: `properties.name`, the barcode that Space Ranger makes of `properties.cell_id`, and its class,
        `properties.classification`.

        Parameters
        ----------
        path
            Path of the file. QuPath exports such files in full-resolution pixels of the slide.
        um_per_unit
            Size of the file's unit in um. For pixels, this is the slide's um per pixel.
        origin_um
            Place of the file's zero on the slide, in um; for QuPath and a slide that was scanned in part, that of the
            scanned part (`slide.frames.qupath`).

        Raises
        ------
        DataError
            If the file cannot be read, is not GeoJSON, or has no polygon that can be used.

        Warns
        -----
        PixNetWarning
            If features that are not polygons are left out, if an outline crosses itself and was repaired, or if cells
            would not be of the size of cells.
        """
        scale = positive_number("um_per_unit", um_per_unit)
        origin = finite_array("origin_um", origin_um)
        found = Annotations.read(Path(path))
        shapes = found.shapes(lambda xy: xy * scale + origin)
        problems, repaired = _repair(shapes)
        if len(problems) == len(shapes):
            raise DataError(f"{path}: polygon {min(problems)} {problems[min(problems)]}; draw it again")
        kept = np.array([index not in problems for index in range(len(shapes))], bool)
        found.leave_out(problems)
        polygons = cls._of(_oriented(shapes[kept]), found.names, found.classes)
        notes = [_repaired_note(repaired, len(shapes))] if repaired else []
        if found.summary:
            notes.append(f"{found.total - len(polygons)} of {found.total} features are left out: {found.summary}")
        if odd := found.odd_cells(polygons.areas_um2):
            notes.append(odd)
        if notes:
            warnings.warn(f"{path}: {'; '.join(notes)}.", PixNetWarning, stacklevel=2)
        return polygons

    @classmethod
    def _of(cls, shapes: NDArray[np.object_], names: Sequence[str], classes: Sequence[str | None]) -> Self:
        """Make regions of shapes that were checked."""
        polygons = cls.__new__(cls)
        polygons.shapes = shapes
        polygons._names = np.array([str(name) for name in names], dtype=object)
        polygons._classes = np.array(list(classes), dtype=object)
        return polygons

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
    problems, repaired = _repair(result)
    if problems:
        first = min(problems)
        raise DataError(f"polygon {first} {problems[first]}; leave it out or draw it again")
    if repaired:
        warnings.warn(_repaired_note(repaired, len(result)), PixNetWarning, stacklevel=3)
    return _oriented(result)


def _repair(shapes: NDArray[np.object_]) -> tuple[dict[int, str], list[int]]:
    """Repair polygons in place; return what is wrong with those that cannot be, by index, and which were repaired."""
    problems = dict.fromkeys(map(int, np.flatnonzero(shapely.is_empty(shapes))), "is empty")
    for part in _parts(shapes):
        points, owner = shapely.get_coordinates(shapes[part], return_index=True)
        broken = np.unique(owner[~np.isfinite(points).all(axis=1)]) + part.start
        problems |= dict.fromkeys(map(int, broken), "has a coordinate that is not finite")
    repaired = []
    for index in map(int, np.flatnonzero(~shapely.is_valid(shapes))):
        if index in problems:
            continue
        if is_tangled(shapes[index]):
            problems[index] = "crosses itself all over"
            continue
        shape = _repaired(shapes[index])
        if shape is None:
            problems[index] = "has no area"
        else:
            shapes[index] = shape
            repaired.append(index)
    return problems, repaired


def _oriented(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    for part in _parts(shapes):
        shapes[part] = shapely.orient_polygons(shapely.force_2d(shapes[part]), exterior_cw=False)
    return shapes


def _parts(shapes: NDArray[np.object_]) -> Iterator[slice]:
    """Yield successive polygons with a limited number of corners."""
    return batches(shapely.get_num_coordinates(shapes), BATCH // 4)


def _repaired_note(repaired: list[int], total: int) -> str:
    return (
        f"{len(repaired)} of {total} polygons cross or touch themselves (the first is polygon {repaired[0]}); they "
        "were repaired by shapely.make_valid"
    )


def _repaired(shape: Polygon | MultiPolygon) -> Polygon | MultiPolygon | None:
    """Return the area of an invalid polygon as a valid one, without lines and points that result; None if it has none.

    The structure method unites parts that overlap. The default method would make holes of them.
    """
    valid = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    parts = shapely.get_parts(shapely.get_parts(valid))
    areas = [part for part in parts if isinstance(part, Polygon) and part.area > 0]
    if not areas:
        return None
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)
