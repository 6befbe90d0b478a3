"""A pyramid of gene maps as OME-Zarr (OME-NGFF 0.5), as napari, Vitessce and ome-zarr-py read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

from pixnet.field.export.image import display_ranges, write_levels
from pixnet.field.export.request import Order
from pixnet.field.ngff import multiscales

EXPORT_KEY = "pixnet_export"
_COLORS = ("FF00FF", "00FF00", "00FFFF", "FFFF00", "FF4040", "4040FF")
_SHOWN = 3  # channels that a viewer shows at first


def write_ome_zarr(order: Order, path: Path) -> None:
    """Write a Zarr 3 group with one array (c, y, x) a level; NaN is no data or background."""
    arrays = write_levels(order, path)
    grids = {str(number): grid for number, grid in enumerate(order.grids)}
    ome = multiscales(order.field.attributes.slide.name, grids)
    ome["omero"] = {"channels": _channels(order, arrays[-1]), "rdefs": {"model": "color"}}
    zarr.open_group(path, mode="r+", zarr_format=3).attrs.put({"ome": ome, EXPORT_KEY: order.facts})


def _channels(order: Order, coarsest: zarr.Array[Any]) -> list[dict[str, Any]]:
    """Name the channels and say how to show them."""
    channels = []
    for number, (least, largest, end) in enumerate(display_ranges(coarsest)):
        start = min(least, 0.0)
        # A viewer divides by the range.
        end = end if end > start else start + 1.0
        window = {"min": start, "max": max(largest, end), "start": start, "end": end}
        color = "FFFFFF" if len(order.genes) == 1 else _COLORS[number % len(_COLORS)]
        channels.append(
            {"label": order.genes[number], "color": color, "active": number < _SHOWN, "window": window}
        )  # fmt: skip
    return channels
