"""Regions with their values, as GeoJSON or CSV, written some at a time."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field.export.request import Request, Sizes, steps
from pixnet.field.read.query import query_parts
from pixnet.regions import Disks, Polygons, Regions, Squares

_ROWS = 1 << 13  # regions written at once
_GEOJSON = Sizes(region_bytes=450, value_bytes=30, largest_gb=2.0)
_CSV = Sizes(region_bytes=60, value_bytes=12, largest_gb=8.0)


def write_geojson(request: Request, path: Path) -> None:
    """Write a FeatureCollection for QuPath, one line per region: outlines in its pixels, and measurements.

    Values that are not known are left out.
    """
    regions = request.make_regions(_GEOJSON)
    # QuPath counts tiles among its detections, so its measurement maps show both kinds.
    kind = "tile" if isinstance(regions, Squares) else "detection"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        separator = "\n"
        for rows in _read_rows(request, regions):
            for feature in _features(request, rows, kind):
                file.write(separator + json.dumps(feature, allow_nan=False))
                separator = ",\n"
        file.write("\n]}\n")


def write_csv(request: Request, path: Path) -> None:
    """Write one row per region: name, centre in um, valid area in um^2 and the value of each gene."""
    regions = request.make_regions(_CSV)
    open_file = gzip.open if path.suffix == ".gz" else open
    with open_file(path, "wt", encoding="utf-8", newline="") as file:
        header = True
        for rows in _read_rows(request, regions):
            table = pd.DataFrame(rows.values, rows.obs.index, request.genes)
            positions = rows.obs[["x_um", "y_um", "valid_area_um2"]]
            pd.concat([positions, table], axis=1).to_csv(file, header=header, index_label="region", float_format="%.7g")
            header = False


class _Rows(NamedTuple):
    """Successive regions, their positions and areas, and their values (r, g), which are NaN where there is no data."""

    regions: Regions
    obs: pd.DataFrame
    values: NDArray[np.float32]


def _read_rows(request: Request, regions: Regions) -> Iterator[_Rows]:
    """Read the values of regions, some at a time.

    Of squares that cover the slide, those without data are left out. Regions that the user gave are all written, with
    NaN where there is no data.
    """
    request.report(0, len(regions))
    with warnings.catch_warnings():
        if request.regions is None:
            warnings.simplefilter("ignore", PixNetWarning)
        for part in query_parts(request.store, regions, request.genes):
            expression = part.layers["log1p"] if request.log and part.layers else part.values
            empty = part.obs["valid_area_um2"].to_numpy() <= 0
            values = np.where(empty[:, None], np.float32(np.nan), expression)
            written = np.flatnonzero(~empty) if request.regions is None else np.arange(len(values))
            # As text or outlines a region takes far more memory than as numbers.
            for rows in (written[step] for step in steps(len(written), _ROWS)):
                yield _Rows(regions.take(part.rows.start + rows), part.obs.iloc[rows], values[rows])
            request.report(part.rows.stop, len(regions))


def _features(request: Request, rows: _Rows, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the feature of each region."""
    frame = request.slide.frames.qupath
    shapes = shapely.transform(outlines(rows.regions), lambda points: np.round(frame.to_pixels(points), 3))
    for name, shape, values in zip(rows.obs.index, shapes, rows.values, strict=True):
        numbers = [float(f"{value:.7g}") for value in values]
        properties = {
            "objectType": kind,
            "name": str(name),
            "classification": {"name": "PixNet", "color": [120, 60, 160]},
            "measurements": {gene: n for gene, n in zip(request.genes, numbers, strict=True) if np.isfinite(n)},
        }
        yield {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": properties}


def outlines(regions: Regions) -> NDArray[Any]:
    """Return the outlines of n regions as shapely polygons in um, (n,); a disk's has 32 corners."""
    if isinstance(regions, Polygons):
        return np.asarray(regions.shapes)
    if isinstance(regions, Squares):
        return np.asarray(shapely.polygons(regions.corners_um))
    if isinstance(regions, Disks):
        return np.asarray(shapely.buffer(shapely.points(regions.centers_um), regions.diameters_um / 2, quad_segs=8))
    raise FieldError(
        f"the outlines of a {type(regions).__name__} are not known; export its regions as csv, or give polygons."
    )
