"""Maps of genes as an image of a SpatialData store, with a table of regions beside it where one is wanted."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field.export.image import TILE
from pixnet.field.export.ome_zarr import EXPORT_KEY
from pixnet.field.export.outlines import outlines
from pixnet.field.export.request import Order
from pixnet.field.read.maps import lazy_values
from pixnet.grid import round_up

IMAGE, SHAPES, TABLE = "expression", "regions", "table"
IN_UM, IN_PIXELS = "um", "pixels"
_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB = 800, 8, 4.0


def write_spatialdata(order: Order, path: Path) -> None:
    """Write the image `expression`, and for regions the shapes `regions` with the table `table`.

    They can be brought into the coordinate systems `um` and `pixels`, full-resolution pixels of the slide.

    Raises
    ------
    FieldError
        If the package spatialdata is not installed.
    """
    try:
        spatialdata = importlib.import_module("spatialdata")
    except ImportError:
        raise FieldError(
            "writing SpatialData needs the package spatialdata. Install it: pip install 'pixnet[spatialdata]'"
        ) from None
    order.progress(0, 1)
    elements: dict[str, Any] = {IMAGE: _image(order)}
    if order.wants_regions:
        elements |= _regions(order)
    data = spatialdata.SpatialData.init_from_elements(elements, attrs={EXPORT_KEY: order.facts})
    data.write(path)
    order.progress(1, 1)


def _image(order: Order) -> Any:
    """Give the pyramid, lazily: dask writes it piece by piece."""
    import xarray
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale, set_transformation

    grids = order.grids
    # SpatialData takes the factor between levels from their sizes, so all have to be whole multiples.
    height, width = (round_up(count, 2 ** (len(grids) - 1)) for count in grids[0].shape)
    arrays: list[Any] = []
    for number in range(len(grids)):
        shape = height >> number, width >> number
        arrays.append(lazy_values(order.field._store, order.readout, order.level + number, shape))
    arrays = [array.rechunk((1, TILE, TILE)) for array in arrays]
    pitch, mpp = grids[0].pitch_um, order.field.attributes.slide.mpp
    ways = {
        IN_UM: Scale([pitch, pitch], axes=("y", "x")),
        IN_PIXELS: Scale([pitch / mpp, pitch / mpp], axes=("y", "x")),
    }
    if len(arrays) == 1:
        return Image2DModel.parse(arrays[0], dims=("c", "y", "x"), c_coords=list(order.genes), transformations=ways)
    levels = {}
    for number, array in enumerate(arrays):
        maps = xarray.DataArray(array, dims=("c", "y", "x"), coords={"c": list(order.genes)}, name="image")
        levels[f"scale{number}"] = xarray.Dataset({"image": maps})
    tree = xarray.DataTree.from_dict(levels)
    set_transformation(tree, ways, set_all=True)
    return tree


def _regions(order: Order) -> dict[str, Any]:
    """Give outlines and table of the regions."""
    import geopandas
    from spatialdata.models import ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    regions = order.make_regions(_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB)
    with warnings.catch_warnings():
        if order.regions is None:
            warnings.simplefilter("ignore", PixNetWarning)
        table = order.field.query(regions, order.genes)
    if order.regions is None:
        kept = np.flatnonzero(table.obs["valid_area_um2"] > 0)
        regions, table = regions.take(kept), table[kept].copy()
    mpp = order.field.attributes.slide.mpp
    ways = {IN_UM: Identity(), IN_PIXELS: Scale([1 / mpp, 1 / mpp], axes=("y", "x"))}
    frame = geopandas.GeoDataFrame(geometry=outlines(regions), index=table.obs_names)
    table.obs["region"], table.obs["instance"] = SHAPES, table.obs_names
    table.obs["region"] = table.obs["region"].astype("category")
    return {
        SHAPES: ShapesModel.parse(frame, transformations=ways),
        TABLE: TableModel.parse(table, region=SHAPES, region_key="region", instance_key="instance"),
    }
