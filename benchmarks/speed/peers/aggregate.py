"""Means of all channels of an array in memory over regions, with sopa and with exactextract."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import shapely

from benchmarks.speed.processes import answer
from benchmarks.speed.query import regions

_PITCH_UM = 2.0
_CHUNK = 500  # side of the parts that sopa processes, in pixels


def sopa(path: str, kind: str, disks: str, ours: str) -> dict[str, float]:
    """Average with `sopa.aggregation.aggregate_channels`; its input is made before the clock starts."""
    import dask.array
    import geopandas
    from sopa.aggregation import aggregate_channels
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel

    maps = np.load(path)
    image = dask.array.from_array(maps, chunks=(len(maps), _CHUNK, _CHUNK))
    channels = [f"c{number}" for number in range(len(maps))]
    image = Image2DModel.parse(image, dims=("c", "y", "x"), c_coords=channels)
    shapes = ShapesModel.parse(geopandas.GeoDataFrame(geometry=_shapes(kind, int(disks), maps)))
    data = SpatialData(images={"maps": image}, shapes={"regions": shapes})
    start = time.perf_counter()
    table = aggregate_channels(data, image_key="maps", shapes_key="regions")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "difference": _difference(np.asarray(table.X)[:, 0], ours)}


def exactextract(path: str, kind: str, disks: str, ours: str, channels: str) -> dict[str, float]:
    """Average some channels with `exact_extract`; its input is made before the clock starts."""
    import geopandas
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    maps = np.load(path)
    _, height, width = maps.shape
    # Its y axis points up: the first row of a map is at the top.
    up = shapely.transform(_shapes(kind, int(disks), maps), lambda points: points * [1, -1] + [0, height])
    frame = geopandas.GeoDataFrame(geometry=up, crs="EPSG:3857")  # it requires a coordinate system on Earth
    bands: list[Any] = [
        NumPyRasterSource(maps[band], 0, 0, width, height, name=f"c{band}", srs_wkt=frame.crs.to_wkt())
        for band in range(int(channels))
    ]
    start = time.perf_counter()
    table = exact_extract(bands, frame, "mean", output="pandas")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "difference": _difference(table.iloc[:, 0].to_numpy(float), ours)}


def _shapes(kind: str, disks: int, maps: Any) -> Any:
    """Return the regions as polygons in pixels of the maps."""
    chosen = regions(kind, disks, maps.shape[2] * _PITCH_UM)
    if kind == "disks":
        centers = shapely.points(chosen.centers_um / _PITCH_UM)
        return shapely.buffer(centers, chosen.diameters_um / _PITCH_UM / 2, quad_segs=32)
    return shapely.box(*(chosen.bounds_um / _PITCH_UM).T)


def _difference(theirs: Any, ours: str) -> float:
    """Return the median difference between the means; bins at the edge of the slide may have none."""
    means = np.load(ours)
    return float(np.nanmedian(np.abs(theirs - means)) / np.nanmean(np.abs(means)))


if __name__ == "__main__":
    answer({"sopa": sopa, "exactextract": exactextract})
