"""Regions with their values as GeoJSON, as QuPath imports it: outlines in full-resolution pixels, with measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from pixnet.field.export.outlines import outlines
from pixnet.field.export.request import Order
from pixnet.field.export.table import Rows, read_rows
from pixnet.regions import Squares

_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB = 450, 30, 2.0


def write_geojson(order: Order, path: Path) -> None:
    """Write a FeatureCollection with a line for each region; a value that is not known is left out."""
    regions = order.make_regions(_REGION_BYTES, _VALUE_BYTES, _LARGEST_GB)
    # Both are detections to QuPath, so its measurement maps show them.
    kind = "tile" if isinstance(regions, Squares) else "detection"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        before = "\n"
        for rows in read_rows(order, regions):
            for feature in _features(order, rows, kind):
                file.write(before + json.dumps(feature, allow_nan=False))
                before = ",\n"
        file.write("\n]}\n")


def _features(order: Order, rows: Rows, kind: str) -> Iterator[dict[str, Any]]:
    """Give a feature for each region."""
    mpp = order.field.attributes.slide.mpp
    shapes = shapely.transform(outlines(rows.regions), lambda points: np.round(points / mpp, 3))
    for name, shape, values in zip(rows.obs.index, shapes, rows.values, strict=True):
        numbers = [float(f"{value:.7g}") for value in values]
        known = {gene: value for gene, value in zip(order.genes, numbers, strict=True) if np.isfinite(value)}
        properties = {
            "objectType": kind,
            "name": str(name),
            "classification": {"name": "PixNet", "color": [120, 60, 160]},
            "measurements": known,
        }
        yield {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": properties}
