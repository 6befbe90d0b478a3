"""Shapes and labels of a SpatialData store as regions in um, through any affine transformation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.readers.formats.image_transform import moved
from pixnet.regions import Disks, LabelMask, Polygons, Regions

_EQUAL = 1e-6
_LARGEST_MASK = 1 << 30  # bytes; sorting its labels takes as much again
_CORNERS = 128  # of a stretched circle
# Factor by which a polygon of that many corners must be larger to have the circle's area.
_ROUND = math.sqrt(2 * math.pi / (_CORNERS * math.sin(2 * math.pi / _CORNERS)))

Matrix = NDArray[np.float64]
RegionsOfInstances = tuple[Regions, NDArray[np.bool_]]
"""Regions, and for each wanted instance, whether it is among them."""


def from_shapes(shapes: Any, instances: pd.Index, to_um: Matrix) -> RegionsOfInstances:
    """Convert the wanted circles (points with a column `radius`) or polygons of a GeoDataFrame to regions in um.

    `instances` are entries of its index, each once; `to_um` is the 3x3 matrix from the shapes' coordinates to um.
    """
    place = _places(pd.Index(shapes.index), instances)
    usable, kinds = _usable(shapes)
    present = (place >= 0) & usable[np.maximum(place, 0)]
    if not present.any():
        raise DataError(f"none of the table's {len(instances)} instances has a shape with an area")
    chosen = shapes.iloc[place[present]]
    geometry = shapely.force_2d(np.asarray(chosen.geometry.array, dtype=object))
    if kinds <= {"Polygon", "MultiPolygon"}:
        polygons = [shapely.transform(shape, lambda xy: moved(xy, to_um)) for shape in geometry]
        return Polygons(polygons, [str(name) for name in chosen.index]), present
    if kinds != {"Point"}:
        raise DataError(
            f"holds {' and '.join(sorted(kinds))}; regions must be circles (points with a radius) or polygons"
        )
    if "radius" not in chosen:
        raise DataError("holds points without a column 'radius', which have no area")
    radius = np.asarray(chosen["radius"], np.float64)
    xy = shapely.get_coordinates(geometry)
    stretch = np.linalg.svd(to_um[:2, :2], compute_uv=False)
    if stretch[0] - stretch[1] <= _EQUAL * stretch[0]:
        return Disks(moved(xy, to_um), 2 * radius * math.sqrt(stretch[0] * stretch[1])), present
    angle = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
    corners = np.stack([np.cos(angle), np.sin(angle)], axis=1) * _ROUND
    outlines = moved((xy[:, None] + radius[:, None, None] * corners).reshape(-1, 2), to_um).reshape(-1, _CORNERS, 2)
    return Polygons(list(shapely.polygons(outlines)), [str(name) for name in chosen.index]), present


def _usable(shapes: Any) -> tuple[NDArray[np.bool_], set[str]]:
    """Return which shapes are of the kind that most are of, finite and not empty, and the types of that kind."""
    geometry = np.asarray(shapes.geometry.array, dtype=object)
    types = np.array([shape.geom_type if shape is not None else "nothing" for shape in geometry], dtype=object)
    kind = np.where(types == "MultiPolygon", "Polygon", types)
    known, number = np.unique(kind[kind != "nothing"].astype(str), return_counts=True)
    if not len(known):
        raise DataError("holds no shapes, only rows without a geometry")
    usual = known[np.argmax(number)]
    usable = (kind == usual) & ~shapely.is_empty(geometry)
    usable &= np.isfinite(shapely.bounds(geometry)).all(axis=1)
    if usual == "Point" and "radius" in shapes:
        radius = pd.to_numeric(shapes["radius"], errors="coerce").to_numpy(np.float64)
        usable &= np.isfinite(radius) & (radius > 0)
    return np.asarray(usable, np.bool_), set(types[kind == usual])


def from_labels(labels: Any, instances: pd.Index, to_um: Matrix) -> RegionsOfInstances:
    """Convert the wanted labels of a DataArray (y, x), or of a pyramid whose `scale0` is one, to regions in um.

    `to_um` is the 3x3 matrix from the mask's pixels to um. A mask of over 1 GB is an error.
    """
    full = next(iter(labels["scale0"].data_vars.values())) if hasattr(labels, "children") else labels
    if set(full.dims) != {"y", "x"} or not np.issubdtype(full.dtype, np.integer):
        raise DataError(
            f"holds {full.dtype} labels with the axes {', '.join(map(str, full.dims))}, not whole numbers with y and x"
        )
    if math.prod(full.shape) * full.dtype.itemsize > _LARGEST_MASK:
        raise DataError(
            f"a mask of {' x '.join(map(str, full.shape))} px takes over {_LARGEST_MASK >> 30} GB in memory"
        )
    mask = np.asarray(full.transpose("y", "x").to_numpy())
    values = np.unique(mask)
    labels_in_mask = values[values > 0].astype(np.int64)
    place = _places(pd.Index(labels_in_mask), instances)
    present = place >= 0
    ids = labels_in_mask[place[present]]
    linear, corner = to_um[:2, :2], to_um[:2, 2]
    pitch = float(linear[0, 0])
    if pitch > 0 and np.allclose(linear, np.eye(2) * pitch, rtol=0, atol=1e-9 * pitch):
        return LabelMask(mask, float(corner[0]), float(corner[1]), pitch, ids), present
    outlines = _outlines(mask, ids)
    polygons = [shapely.transform(outline, lambda xy: moved(xy, to_um)) for outline in outlines]
    return Polygons(polygons, [str(label) for label in ids]), present


def _places(index: pd.Index, instances: pd.Index) -> NDArray[np.int64]:
    """Return the place of each instance in an index, -1 where it is missing."""
    if index.has_duplicates:
        raise DataError(f"holds the instance {str(index[index.duplicated()][0])!r} more than once")
    place = np.asarray(index.get_indexer(instances), np.int64)
    if not (place >= 0).any():  # numbers may be stored as text
        place = np.asarray(pd.Index(index.astype(str)).get_indexer(pd.Index(instances.astype(str))), np.int64)
    if not (place >= 0).any():
        raise DataError(f"has none of the table's {len(instances)} instances, such as {str(instances[0])!r}")
    return place


def _outlines(mask: NDArray[np.integer[Any]], ids: NDArray[np.int64]) -> list[Any]:
    """Return the outlines of labels along the edges of their pixels."""
    width = mask.shape[1]
    flat = mask.ravel()
    is_start = np.ones(flat.size, bool)
    is_start[1:] = flat[1:] != flat[:-1]
    is_start[::width] = True
    first = np.flatnonzero(is_start)
    last = np.append(first[1:], flat.size)
    wanted = np.isin(flat[first], ids)
    first, last = first[wanted], last[wanted]
    label, row = flat[first].astype(np.int64), first // width
    boxes = shapely.box(first - row * width, row, last - row * width, row + 1)
    order = np.argsort(label, kind="stable")
    cuts = np.flatnonzero(np.diff(label[order])) + 1
    merged = [shapely.union_all(part) for part in np.split(boxes[order], cuts)]
    outline_of = dict(zip(np.unique(label).tolist(), merged, strict=True))
    return [outline_of[int(label)] for label in ids]
