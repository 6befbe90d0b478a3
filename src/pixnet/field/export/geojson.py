"""Regions with their values as GeoJSON for QuPath: outlines in full-resolution pixels, with measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from pixnet.field.export.outlines import outlines
from pixnet.field.export.request import Request
from pixnet.field.export.table import Rows, read_rows
from pixnet.regions import Squares

_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB = 450, 30, 2.0


def write_geojson(request: Request, path: Path) -> None:
    """Write a FeatureCollection, one line per region; values that are not known are left out."""
    regions = request.make_regions(_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB)
    # QuPath counts tiles among its detections, so its measurement maps show both kinds.
    kind = "tile" if isinstance(regions, Squares) else "detection"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        separator = "\n"
        for rows in read_rows(request, regions):
            for feature in _features(request, rows, kind):
                file.write(separator + json.dumps(feature, allow_nan=False))
                separator = ",\n"
        file.write("\n]}\n")


def _features(request: Request, rows: Rows, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the feature of each region."""
    mpp = request.slide.mpp
    shapes = shapely.transform(outlines(rows.regions), lambda points: np.round(points / mpp, 3))
    for name, shape, values in zip(rows.obs.index, shapes, rows.values, strict=True):
        numbers = [float(f"{value:.7g}") for value in values]
        known = {gene: number for gene, number in zip(request.genes, numbers, strict=True) if np.isfinite(number)}
        properties = {
            "objectType": kind,
            "name": str(name),
            "classification": {"name": "PixNet", "color": [120, 60, 160]},
            "measurements": known,
        }
        yield {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": properties}
