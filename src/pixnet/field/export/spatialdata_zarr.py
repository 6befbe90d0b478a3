"""Maps of genes as the image of a SpatialData store, with a table of regions if the export has regions."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field.export.images import EXPORT_KEY, TILE
from pixnet.field.export.request import Request, Sizes
from pixnet.field.export.tables import outlines
from pixnet.field.read.maps import lazy_values
from pixnet.field.read.query import query
from pixnet.grid import round_up

IMAGE, SHAPES, TABLE = "expression", "regions", "table"
IN_UM, IN_PIXELS = "um", "pixels"
_SIZES = Sizes(region_bytes=800, value_bytes=8, largest_gb=4.0)


def write_spatialdata(request: Request, path: Path) -> None:
    """Write the image `expression`, and for regions also the shapes `regions` and the table `table`.

    Their coordinate systems are `um` and `pixels`, the full-resolution pixels of the slide.
    """
    try:
        spatialdata = importlib.import_module("spatialdata")
    except ImportError:
        raise FieldError(
            "to export to SpatialData, install the package spatialdata: pip install 'pixnet[spatialdata]'"
        ) from None
    request.report(0, 1)
    elements: dict[str, Any] = {IMAGE: _image(request)}
    if request.has_regions:
        elements |= _regions(request)
    data = spatialdata.SpatialData.init_from_elements(elements, attrs={EXPORT_KEY: request.facts})
    data.write(path)
    request.report(1, 1)


def _image(request: Request) -> Any:
    """Return the pyramid as lazy arrays, which dask writes chunk by chunk."""
    import xarray
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale, set_transformation

    grids = request.grids
    # SpatialData computes the factor between levels from their sizes, so these must be whole multiples.
    height, width = (round_up(count, 2 ** (len(grids) - 1)) for count in grids[0].shape)
    arrays: list[Any] = []
    for number in range(len(grids)):
        shape = height >> number, width >> number
        array: Any = lazy_values(request.store, request.readout, request.finest_level + number, shape)
        arrays.append(array.rechunk((1, TILE, TILE)))
    pitch, mpp = grids[0].pitch_um, request.slide.mpp
    transformations = {
        IN_UM: Scale([pitch, pitch], axes=("y", "x")),
        IN_PIXELS: Scale([pitch / mpp, pitch / mpp], axes=("y", "x")),
    }
    axes, genes = ("c", "y", "x"), list(request.genes)
    if len(arrays) == 1:
        return Image2DModel.parse(arrays[0], dims=axes, c_coords=genes, transformations=transformations)
    levels = {}
    for number, array in enumerate(arrays):
        maps = xarray.DataArray(array, dims=axes, coords={"c": genes}, name="image")
        levels[f"scale{number}"] = xarray.Dataset({"image": maps})
    tree = xarray.DataTree.from_dict(levels)
    set_transformation(tree, transformations, set_all=True)
    return tree


def _regions(request: Request) -> dict[str, Any]:
    """Return the outlines and the table of the regions."""
    import geopandas
    from spatialdata.models import ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    regions = request.make_regions(_SIZES)
    with warnings.catch_warnings():
        if request.regions is None:
            warnings.simplefilter("ignore", PixNetWarning)
        table = query(request.store, regions, request.genes)
    if request.regions is None:
        with_data = np.flatnonzero(table.obs["valid_area_um2"] > 0)
        regions, table = regions.take(with_data), table[with_data].copy()
    mpp = request.slide.mpp
    transformations = {IN_UM: Identity(), IN_PIXELS: Scale([1 / mpp, 1 / mpp], axes=("y", "x"))}
    frame = geopandas.GeoDataFrame(geometry=outlines(regions), index=table.obs_names)
    table.obs["region"], table.obs["instance"] = SHAPES, table.obs_names
    table.obs["region"] = table.obs["region"].astype("category")
    return {
        SHAPES: ShapesModel.parse(frame, transformations=transformations),
        TABLE: TableModel.parse(table, region=SHAPES, region_key="region", instance_key="instance"),
    }
