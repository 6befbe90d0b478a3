"""A SpatialData store: an image, shapes or labels, and the table of counts in them, brought into the image's pixels.

Every element of a store has a transformation into one or more coordinate systems. Regions are transformed from their
own coordinates into the chosen system, and from there, by the inverse of the image's transformation, onto its pixels.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from pixnet.errors import DataError, SlideError
from pixnet.readers.anndata.counts import table_counts, with_notes
from pixnet.readers.anndata.reader import counts_of
from pixnet.readers.anndata.source import TableSource, open_table
from pixnet.readers.common import agreed_pixel_size, check_sound, damage, errors_of, left_out, warn_once, weighed
from pixnet.readers.formats.flags import under_tissue
from pixnet.readers.formats.hdf5 import check_sizes
from pixnet.readers.platforms import SpatialDataEntry
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.readers.spatialdata.shapes import from_labels, from_shapes
from pixnet.regions import Regions
from pixnet.safe.zarr_store import check_zarr
from pixnet.sample import Sample
from pixnet.slide import Slide, pixel_size
from pixnet.slide.pixel_size import PixelSize
from pixnet.slide.zarr import ZarrSource

Matrix = NDArray[np.float64]

_IN_UM = ("microns", "micron", "micrometers", "micrometer", "micrometres", "micrometre", "um", "µm", "μm")
_SMALL_COPIES = ("hires_image", "lowres_image", "hires", "lowres")
_KINDS = ("images", "labels", "shapes", "tables")

Choice = dict[str, str | None]
"""Names of the `table`, `image` and `region` to use; None for the only one."""


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
) -> Sample:
    """Read a sample from a SpatialData store. Needs the package spatialdata: `pip install 'pixnet[spatialdata]'`.

    Parameters
    ----------
    path
        The zarr folder.
    table, image, region
        Names of the table, of the H&E image (at full resolution; `scale0` of a pyramid is used) and of the shapes or
        labels that the table counts in, if the store has several. A `hires` or `lowres` image is only used if it is
        named.
    coordinate_system
        A system that both image and region can be transformed into.
    id, donor, mpp
        As in `SampleOptions`. By default `mpp` is the scale of the image in a coordinate system called "microns" or
        "um".

    Returns
    -------
    Sample
        Of platform "spatialdata", with the regions of the table's rows: circles as disks, shapes as polygons, labels
        as a mask. Circles that the coordinate system stretches and labels that it turns are polygons.

    Raises
    ------
    DataError
        If spatialdata is not installed, the store is missing or damaged, an element is missing or must be chosen,
        table and region have no instance in common, `mpp` contradicts the store by over 5 %, or regions are outside
        the image.
    SlideError
        If the image is not 8-bit RGB, or no pixel size is known.
    """
    path = Path(path)
    choice: Choice = {"table": table, "image": image, "region": region}
    parts = open_parts(path, choice, coordinate_system, PixelSize.given(mpp))
    with parts.counted() as source:
        counts, rows, gene_notes = table_counts(source, None, parts.rows)
    parts = replace(parts, rows=rows, instances=parts.instances[np.isin(parts.rows, rows)])
    regions, present = parts.regions()
    slide = parts.slide()
    name = id or path.name.removesuffix(".zarr")
    odd = {f"rows of the table without a usable instance in {parts.region!r}": int((~present).sum()), **parts.left_out}
    warn_once(name, [*left_out(odd, int(present.sum())), *gene_notes])
    origin = {"image": parts.image, "region": parts.region, "coordinate_system": coordinate_system}
    counts = with_notes(counts if present.all() else counts.take(present), table=parts.table, **origin)
    try:
        return weighed(Sample(name, slide, regions, counts, donor, "spatialdata"))
    except DataError as error:
        raise DataError(
            f"{path}: {error} In {coordinate_system!r}, image and regions may not belong together."
        ) from error


@dataclass(frozen=True)
class Parts:
    """The elements of a store that make a sample, not yet read.

    `rows` and `instances` are the table's rows of the region that are under tissue, and the instance of each;
    `left_out` counts, by reason, its other rows, and shapes
    without a row. `to_um` is the 3x3 matrix from
    the region's own coordinates to um from the image's corner.
    """

    path: Path
    store: Any
    table: str
    image: str
    region: str
    element: Any
    is_shapes: bool
    rows: NDArray[np.int64]
    instances: pd.Index
    left_out: dict[str, int]
    to_um: Matrix
    size: PixelSize

    def counted(self) -> AbstractContextManager[TableSource]:
        """Open the table."""
        return open_table(self.store.tables[self.table], f"{self.path}, table {self.table!r}")

    def regions(self) -> tuple[Regions, NDArray[np.bool_]]:
        """Return the regions in um, and for each instance whether it has one."""
        convert = from_shapes if self.is_shapes else from_labels
        with errors_of(f"{self.path}, {self.region!r}"), damage("cannot be read"):
            return convert(self.element, self.instances, self.to_um)

    def slide(self) -> Slide:
        """Open the image; its pixels are read when they are needed."""
        return _slide(self.path, self.image, self.store.images[self.image], self.size)


def open_parts(path: Path, choice: Choice, coordinate_system: str, given: PixelSize | None) -> Parts:
    """Find the elements of a store that make a sample; options are as in `read_spatialdata`."""
    store = _open(path)
    table = _chosen(path, "table", list(store.tables), choice["table"])
    image = _chosen(path, "image", _colour_images(store), choice["image"], list(store.images))
    rows, region, instances, odd = _instances(path, store, table, choice["region"])
    is_shapes = region in store.shapes
    element = store.shapes[region] if is_shapes else store.labels[region]
    matrices = _matrices(path, image, store.images[image])
    region_matrices = _matrices(path, region, element)
    with errors_of(path):
        to_pixels = _to_pixels(coordinate_system, image, matrices, region, region_matrices)
    size = _pixel_size(path, image, matrices, given)
    to_um = np.diag([size.mpp, size.mpp, 1.0]) @ to_pixels
    return Parts(path, store, table, image, region, element, is_shapes, rows, instances, odd, to_um, size)


def _open(path: Path) -> Any:
    try:
        spatialdata = importlib.import_module("spatialdata")
    except ImportError as error:
        raise DataError(
            f"{path}: reading SpatialData needs the package spatialdata. Install it: pip install 'pixnet[spatialdata]'"
        ) from error
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder. Give the path of a SpatialData zarr store.")
    with damage(f"{path}: cannot be read as SpatialData"):
        check_zarr(path, DataError)
        root = zarr.open_group(path, mode="r")
        for kind in _KINDS:
            if kind in root:
                check_sizes(str(path), root[kind])
        return spatialdata.read_zarr(path, selection=_KINDS)


def _chosen(path: Path, kind: str, candidates: list[str], wanted: str | None, known: list[str] | None = None) -> str:
    """Return the wanted name if there is such an element, or the only one that is suitable."""
    known = candidates if known is None else known
    if wanted is not None:
        if wanted in known:
            return wanted
        raise DataError(f"{path}: has no {kind} {wanted!r}; its {kind}s are: {_listed(known)}.")
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        # A manifest calls it `element`, because its `image` is a file.
        argument = "`element`, or `image` of `read_spatialdata`" if kind == "image" else f"`{kind}`"
        raise DataError(f"{path}: has several {kind}s: {_listed(candidates)}. Choose one as {argument}.")
    raise DataError(f"{path}: has no suitable {kind}; its {kind}s are: {_listed(known)}.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, list(names)[:10])) or "none"


def _full(image: Any) -> Any:
    """Return the finest level of a raster."""
    return next(iter(image["scale0"].data_vars.values())) if hasattr(image, "children") else image


def _colour_images(store: Any) -> list[str]:
    """Return the names of the images that can be H&E at full resolution."""
    return [
        name
        for name, image in store.images.items()
        if not name.endswith(_SMALL_COPIES)
        and _full(image).dtype == np.uint8
        and _full(image).sizes.get("c") in (3, 4)
        and "z" not in _full(image).sizes
    ]


def _instances(
    path: Path, store: Any, table: str, region: str | None
) -> tuple[NDArray[np.int64], str, pd.Index, dict[str, int]]:
    """Return the table's rows of one region, its name, the instance of each row, and how many rows are left out."""
    adata = store.tables[table]
    keys = adata.uns.get("spatialdata_attrs")
    try:
        region_of_row, instance = adata.obs[keys["region_key"]].astype(str), adata.obs[keys["instance_key"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: table {table!r} does not state which elements it counts in (region_key and instance_key not "
            "found)."
        ) from error
    names = list(dict.fromkeys(region_of_row))
    present = [name for name in names if name in store.shapes or name in store.labels]
    if not present:
        raise DataError(
            f"{path}: table {table!r} counts in {_listed(names)}, but the store has no shapes or labels of that name."
        )
    chosen = _chosen(path, "region", present, region)
    of_region = region_of_row.to_numpy() == chosen
    clear = instance.notna().to_numpy() & ~instance.where(of_region).duplicated(keep=False).to_numpy()
    unclear = of_region & ~clear
    check_sound(
        f"{path}, table {table!r}",
        unclear[of_region],
        lambda row: f"the instance {str(instance[of_region].iloc[row])!r} of {chosen!r} is missing or has several rows",
        "Give each row an instance of its own.",
    )
    tissue = under_tissue(f"{path}, table {table!r}", adata.obs)
    rows = np.flatnonzero(of_region & clear & tissue)
    if not len(rows):
        raise DataError(f"{path}: no row of table {table!r} is under tissue (in_tissue = 1). Check the table.")
    odd = {
        "rows not under tissue": int((of_region & clear & ~tissue).sum()),
        "rows without an instance of their own": int(unclear.sum()),
        f"shapes of {chosen!r} without a row": _without_row(store, chosen, instance[of_region]),
    }
    return rows, chosen, pd.Index(instance.iloc[rows]), odd


def _without_row(store: Any, region: str, instances: pd.Series) -> int:
    """Return how many shapes of a region no row of the table is about."""
    if region not in store.shapes:
        return 0
    index = store.shapes[region].index
    known = index.isin(instances)
    if not known.any():  # numbers may be stored as text
        known = index.astype(str).isin(instances.astype(str))
    return int((~known).sum())


def _matrices(path: Path, name: str, element: Any) -> dict[str, Matrix]:
    """Return the 3x3 matrices from an element's own x and y to its coordinate systems."""
    transformations = importlib.import_module("spatialdata.transformations")
    with damage(f"{path}: the transformations of {name!r} cannot be read"):
        matrices = {
            str(system): np.asarray(transformation.to_affine_matrix(("x", "y"), ("x", "y")), np.float64)
            for system, transformation in transformations.get_transformation(element, get_all=True).items()
        }
    for system, matrix in matrices.items():
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise DataError(f"{path}: the transformation of {name!r} into {system!r} is not an affine one of x and y.")
    return matrices


def _to_pixels(
    system: str, image: str, image_matrices: dict[str, Matrix], region: str, region_matrices: dict[str, Matrix]
) -> Matrix:
    """Return the matrix from a region's own coordinates to the image's pixels."""
    if system not in image_matrices or system not in region_matrices:
        shared = [name for name in image_matrices if name in region_matrices]
        raise DataError(
            f"image {image!r} and region {region!r} are not both in the coordinate system {system!r}; "
            f"both are in {_listed(shared)}. Choose one with `coordinate_system`."
        )
    large, small = np.linalg.svd(image_matrices[system][:2, :2], compute_uv=False)
    if small <= 1e-9 * large:
        raise DataError(f"the transformation of image {image!r} into {system!r} is singular.")
    return np.asarray(np.linalg.solve(image_matrices[system], region_matrices[system]), np.float64)


def _pixel_size(path: Path, image: str, matrices: dict[str, Matrix], given: PixelSize | None) -> PixelSize:
    """Return the given pixel size, if the store does not contradict it, or else the store's."""
    stated, system = None, next((name for name in matrices if name.lower() in _IN_UM), None)
    if system is not None:
        x, y = np.linalg.norm(matrices[system][:2, :2], axis=0)
        stated = float(x), float(y), f"coordinate system {system!r}"
        mpp = math.sqrt(x * y)
        reason = f"{path}: image {image!r} has {mpp:.4g} um per pixel in the coordinate system {system!r}"
        agreed_pixel_size(given, PixelSize(mpp), reason, "Give the pixel size of the image as `mpp`.")
    return pixel_size.resolve(f"{path}, image {image!r}", given, stated)


def _slide(path: Path, name: str, image: Any, size: PixelSize) -> Slide:
    """Open the finest level of an image."""
    full = _full(image)
    sizes = {str(axis): int(length) for axis, length in full.sizes.items()}
    if tuple(sizes) != ("c", "y", "x") or sizes["c"] not in (3, 4) or full.dtype != np.uint8:
        raise DataError(f"{path}: image {name!r} has {full.dtype} pixels of shape {sizes}; it must be 8-bit RGB.")
    with damage(f"{path}: image {name!r} cannot be read"):
        source = ZarrSource(path / "images" / name / _finest(path, name))
        if source.levels[0][1] != (sizes["y"], sizes["x"]):
            raise ValueError(f"its array has {source.levels[0][1]} pixels and not {sizes['y'], sizes['x']}")
    return Slide(source, None, name, size)


def _finest(path: Path, name: str) -> str:
    """Return the name of the first of the arrays that an image's metadata (OME-NGFF 0.4 or 0.5) list."""
    attributes = zarr.open_group(path, path=f"images/{name}", mode="r").attrs.asdict()
    metadata: Any = attributes.get("ome", attributes)
    return str(metadata["multiscales"][0]["datasets"][0]["path"])


def raw_places(entry: SpatialDataEntry, raw: RawFiles) -> None:
    """Fill in the centres of the shapes, in um of the image; see `RawReader`."""
    parts = _parts(entry)
    raw.slide = parts.slide()
    raw.xy_px = parts.regions()[0].centers_um
    raw.unit = "um"


def raw_counts(entry: SpatialDataEntry) -> RawCounts:
    """Return the counts as written; see `RawReader`."""
    with _parts(entry).counted() as source:
        return counts_of(source, "X")


def _parts(entry: SpatialDataEntry) -> Parts:
    """Find the elements of a store, if possible without the given pixel size, which may be what is wrong."""
    choice: Choice = {"table": entry.table, "image": entry.element, "region": entry.region}
    try:
        return open_parts(entry.path, choice, entry.coordinate_system, None)
    except SlideError:  # the store states none
        return open_parts(entry.path, choice, entry.coordinate_system, PixelSize.given(entry.mpp))
