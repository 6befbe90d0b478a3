"""A SpatialData store: an image, shapes or labels, and the table that counts in them, brought into the image's pixels.

Every element of a store knows its way into one or more coordinate systems. Regions go from their own coordinates into
the one that is asked for, and from there, by the inverse of the image's way, onto the pixels of the image.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from pixnet.errors import DataError, PixNetError, first_line
from pixnet.readers.anndata.counts import dropped, table_counts, tell, with_notes
from pixnet.readers.anndata.source import TableSource, open_table
from pixnet.readers.formats.declared import check_sizes
from pixnet.readers.spatialdata.shapes import from_labels, from_shapes
from pixnet.regions import Regions
from pixnet.sample import Sample
from pixnet.slide import Slide, pixel_size
from pixnet.slide.pixel_size import AGREES, positive
from pixnet.slide.zarr import ZarrSource

Matrix = NDArray[np.float64]

_IN_UM = ("microns", "micron", "micrometers", "micrometer", "um", "µm")
_SMALL_COPIES = ("hires_image", "lowres_image", "hires", "lowres")
_SQUARE = 0.01
_KINDS = ("images", "labels", "shapes", "tables")


def read_spatialdata(
    path: str | Path,
    *,
    table: str | None = None,
    image: str | None = None,
    region: str | None = None,
    coordinate_system: str = "global",
    id: str | None = None,
    donor: str | None = None,
    mpp: float | None = None,
    mpp_source: str | None = None,
) -> Sample:
    """Read a sample from a SpatialData store. Needs the package spatialdata: `pip install 'pixnet[spatialdata]'`.

    Parameters
    ----------
    path
        The zarr folder.
    table, image, region
        Names of the table, of the H&E image (at full resolution; `scale0` of a pyramid is used) and of the shapes or
        labels that the table counts in, where the store holds several. A `hires` or `lowres` image is only taken if
        it is named.
    coordinate_system
        One that both image and region can be brought into.
    id
        Name of the sample; by default that of the folder.
    donor
        The person that the tissue is from.
    mpp
        um per pixel of the image. By default the scale of the image in a coordinate system called "microns" or "um".
    mpp_source
        Where `mpp` is from, if not from an argument.

    Returns
    -------
    Sample
        Of platform "spatialdata", with the regions of the table's rows: circles as disks, shapes as polygons, labels
        as a mask. Circles that the coordinate system stretches and labels that it turns are polygons.

    Raises
    ------
    DataError
        If spatialdata is not installed, the store is missing or damaged, an element is missing or must be chosen,
        table and region have no instance in common, `mpp` contradicts the store by over 5 %, or regions lie outside.
    SlideError
        If the image is not 8-bit RGB, or no pixel size is known.
    """
    parts = open_parts(
        Path(path), table, image, region, coordinate_system=coordinate_system, mpp=mpp, mpp_source=mpp_source
    )
    path = parts.path
    with parts.counted() as source:
        counts = table_counts(source).take(parts.rows)
    regions, found = parts.regions()
    slide = parts.slide()
    name = id or path.name.removesuffix(".zarr")
    said = dropped(counts.notes)
    if not found.all():
        said.append(f"{(~found).sum()} rows of the table have no instance in {parts.region!r} and are left out")
    shapes = len(parts.element) if parts.region in parts.store.shapes else 0
    if shapes > found.sum():
        said.append(f"{shapes - found.sum()} shapes of {parts.region!r} have no row and are left out")
    tell(name, said)
    where = {"image": parts.image, "region": parts.region, "coordinate_system": coordinate_system}
    counts = with_notes(counts if found.all() else counts.take(found), table=parts.table, **where)
    try:
        return Sample(name, slide, regions, counts, donor, "spatialdata")
    except DataError as error:
        raise DataError(
            f"{path}: {error} In {coordinate_system!r}, image and regions may not belong together."
        ) from error


@dataclass(frozen=True)
class Parts:
    """The elements of a store that make a sample, not yet read.

    Attributes
    ----------
    path, store
        The folder, and the open store.
    table, image, region
        Names of the elements.
    rows, instances
        The table's rows of that region, and the instance of each.
    to_um
        3x3 matrix from the region's own coordinates to um from the image's corner.
    mpp, mpp_source
        um per pixel of the image, and where it is from.
    """

    path: Path
    store: Any
    table: str
    image: str
    region: str
    rows: NDArray[np.int64]
    instances: pd.Index
    to_um: Matrix
    mpp: float
    mpp_source: str

    @property
    def element(self) -> Any:
        """Shapes or labels."""
        shapes = self.store.shapes
        return shapes[self.region] if self.region in shapes else self.store.labels[self.region]

    def counted(self) -> AbstractContextManager[TableSource]:
        """Open the table."""
        return open_table(self.store.tables[self.table], f"{self.path}, table {self.table!r}")

    def regions(self) -> tuple[Regions, NDArray[np.bool_]]:
        """Bring the regions into um; say of which instances there are any.

        Raises
        ------
        DataError
            If they cannot be read, or are of a kind that cannot be used.
        """
        make = from_shapes if self.region in self.store.shapes else from_labels
        try:
            return make(self.element, self.instances, self.to_um)
        except PixNetError as error:
            raise DataError(f"{self.path}, {self.region!r}: {error}") from error
        except Exception as error:  # a damaged chunk makes zarr, dask and geopandas raise nearly anything
            raise DataError(f"{self.path}, {self.region!r}: cannot be read ({first_line(error)}).") from error

    def slide(self) -> Slide:
        """Open the image; its pixels are read where they are asked for."""
        return _slide(self.path, self.image, self.store.images[self.image], self.mpp, self.mpp_source)


def open_parts(
    path: Path,
    table: str | None,
    image: str | None,
    region: str | None,
    *,
    coordinate_system: str,
    mpp: float | None,
    mpp_source: str | None,
) -> Parts:
    """Find in a store what makes a sample; arguments and errors as of `read_spatialdata`."""
    store = _open(path)
    table = _chosen(path, "table", list(store.tables), table)
    image = _chosen(path, "image", _colour_images(store), image, list(store.images))
    rows, region, instances = _instances(path, store, table, region)
    element = store.shapes[region] if region in store.shapes else store.labels[region]
    ways = _ways(path, image, store.images[image])
    to_pixels = _to_pixels(path, coordinate_system, ways, image, _ways(path, region, element), region)
    size, origin = _pixel_size(path, image, ways, mpp, mpp_source)
    to_um = np.diag([size, size, 1.0]) @ to_pixels
    return Parts(path, store, table, image, region, rows, instances, to_um, size, origin)


def _open(path: Path) -> Any:
    try:
        spatialdata = importlib.import_module("spatialdata")
    except ImportError as error:
        raise DataError(
            f"{path}: reading SpatialData needs the package spatialdata. Install it: pip install 'pixnet[spatialdata]'"
        ) from error
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder. Give the path of a SpatialData zarr store.")
    try:
        root = zarr.open_group(path, mode="r")
        for kind in _KINDS:
            if kind in root:
                check_sizes(str(path), root[kind])
        return spatialdata.read_zarr(path, selection=_KINDS)
    except DataError:
        raise
    except Exception as error:  # a damaged store makes zarr, anndata and pyarrow raise nearly anything
        raise DataError(f"{path}: cannot be read as SpatialData ({first_line(error)}).") from error


def _chosen(path: Path, kind: str, candidates: list[str], wanted: str | None, known: list[str] | None = None) -> str:
    """Give the element of a name, or the only one there is."""
    known = candidates if known is None else known
    if wanted is not None:
        if wanted in known:
            return wanted
        raise DataError(f"{path}: holds no {kind} {wanted!r}; there is {_listed(known)}.")
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        # What a manifest calls an element, as its `image` is a file.
        way = "`element` (--set element=NAME), `image` of `read_spatialdata`" if kind == "image" else ""
        way = way or f"`{kind}` (--set {kind}=NAME)"
        raise DataError(f"{path}: holds several {kind}s: {_listed(candidates)}. Choose one as {way}.")
    raise DataError(f"{path}: holds no fitting {kind}; there is {_listed(known)}.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, list(names)[:10])) or "none"


def _full(image: Any) -> Any:
    """Give the finest level of a raster."""
    return next(iter(image["scale0"].data_vars.values())) if hasattr(image, "children") else image


def _colour_images(store: Any) -> list[str]:
    """Name the images that can be H&E at full resolution."""
    return [
        name
        for name, image in store.images.items()
        if not name.endswith(_SMALL_COPIES)
        and _full(image).dtype == np.uint8
        and _full(image).sizes.get("c") in (3, 4)
        and "z" not in _full(image).sizes
    ]


def _instances(path: Path, store: Any, table: str, region: str | None) -> tuple[NDArray[np.int64], str, pd.Index]:
    """Give the table's rows of one region, the region's name, and the instance of each row."""
    counted = store.tables[table]
    keys = counted.uns.get("spatialdata_attrs")
    try:
        of_row, instance = counted.obs[keys["region_key"]].astype(str), counted.obs[keys["instance_key"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: table {table!r} does not say which elements it counts in (no region_key and instance_key)."
        ) from error
    named = list(dict.fromkeys(of_row))
    present = [name for name in named if name in store.shapes or name in store.labels]
    if not present:
        raise DataError(f"{path}: table {table!r} counts in {_listed(named)}, but there are no such shapes or labels.")
    chosen = _chosen(path, "region", present, region)
    rows = np.flatnonzero(of_row.to_numpy() == chosen)
    instances = pd.Index(instance.iloc[rows])
    if instances.has_duplicates or instances.hasnans:
        raise DataError(
            f"{path}: table {table!r} has several rows for one instance of {chosen!r}, or rows without one."
        )
    return rows, chosen, instances


def _ways(path: Path, name: str, element: Any) -> dict[str, Matrix]:
    """Give the 3x3 matrices that bring an element's x and y into its coordinate systems."""
    transformations = importlib.import_module("spatialdata.transformations")
    try:
        found = transformations.get_transformation(element, get_all=True)
        ways = {
            str(system): np.asarray(way.to_affine_matrix(("x", "y"), ("x", "y")), np.float64)
            for system, way in found.items()
        }
    except Exception as error:  # an unknown or damaged transformation
        raise DataError(f"{path}: the transformations of {name!r} cannot be read ({first_line(error)}).") from error
    for system, way in ways.items():
        if way.shape != (3, 3) or not np.isfinite(way).all():
            raise DataError(f"{path}: the way of {name!r} into {system!r} is no affine transformation of x and y.")
    return ways


def _to_pixels(
    path: Path,
    system: str,
    image_ways: dict[str, Matrix],
    image: str,
    region_ways: dict[str, Matrix],
    region: str,
) -> Matrix:
    """Give the matrix from a region's own coordinates to the image's pixels."""
    if system not in image_ways or system not in region_ways:
        shared = [name for name in image_ways if name in region_ways]
        raise DataError(
            f"{path}: image {image!r} and region {region!r} are not both in the coordinate system {system!r}; "
            f"both are in {_listed(shared)}. Choose one with `coordinate_system` (--set coordinate_system=NAME)."
        )
    large, small = np.linalg.svd(image_ways[system][:2, :2], compute_uv=False)
    if small <= 1e-9 * large:
        raise DataError(f"{path}: the way of image {image!r} into {system!r} cannot be undone; it is flat.")
    return np.asarray(np.linalg.solve(image_ways[system], region_ways[system]), np.float64)


def _pixel_size(
    path: Path, image: str, ways: dict[str, Matrix], mpp: float | None, mpp_source: str | None
) -> tuple[float, str]:
    """Settle the pixel size: the caller's, if the store does not contradict it, else the store's."""
    stated, system = None, next((name for name in ways if name.lower() in _IN_UM), None)
    if system is not None:
        x, y = np.linalg.norm(ways[system][:2, :2], axis=0)
        stated = float(x), float(y), f"coordinate system {system!r}"
        size = math.sqrt(x * y)
        if positive(mpp) is not None and abs(float(mpp or 0) - size) > AGREES * size:
            raise DataError(
                f"{path}: image {image!r} has {size:.4g} um per pixel in the coordinate system {system!r}, but "
                f"{mpp:.4g} was given ({mpp_source or 'argument'}). Give that of the image as `mpp` (--mpp)."
            )
    return pixel_size.resolve(f"{path}, image {image!r}", mpp, mpp_source, stated)


def _slide(path: Path, name: str, image: Any, mpp: float, origin: str) -> Slide:
    """Open the finest level of an image."""
    full = _full(image)
    sizes = {str(axis): int(length) for axis, length in full.sizes.items()}
    if tuple(sizes) != ("c", "y", "x") or sizes["c"] not in (3, 4) or full.dtype != np.uint8:
        raise DataError(f"{path}: image {name!r} holds {full.dtype} pixels of {sizes}; an 8-bit RGB image is needed.")
    try:
        source = ZarrSource(path / "images" / name / _finest(path, name))
        if source.levels[0][1] != (sizes["y"], sizes["x"]):
            raise ValueError(f"its array has {source.levels[0][1]} pixels and not {sizes['y'], sizes['x']}")
    except PixNetError:
        raise
    except Exception as error:  # damaged metadata make zarr raise nearly anything
        raise DataError(f"{path}: image {name!r} cannot be read ({first_line(error)}).") from error
    return Slide(source, None, name, mpp, origin)


def _finest(path: Path, name: str) -> str:
    """Give the name of the first of the arrays that an image's metadata (OME-NGFF 0.4 or 0.5) list."""
    attributes = zarr.open_group(path, path=f"images/{name}", mode="r").attrs.asdict()
    listed: Any = attributes.get("ome", attributes)
    return str(listed["multiscales"][0]["datasets"][0]["path"])
