"""A pyramid of gene maps as OME-Zarr (OME-NGFF 0.5), for napari, Vitessce and ome-zarr-py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

from pixnet.field.export.image import display_ranges, write_levels
from pixnet.field.export.request import Request
from pixnet.field.ngff import multiscales

EXPORT_KEY = "pixnet_export"
_COLORS = ("FF00FF", "00FF00", "00FFFF", "FFFF00", "FF4040", "4040FF")
_SHOWN = 3  # channels that a viewer shows when it opens the image


def write_ome_zarr(request: Request, path: Path) -> None:
    """Write a Zarr 3 group with one array (c, y, x) per level; NaN means no data or background."""
    arrays = write_levels(request, path)
    grids = {str(number): grid for number, grid in enumerate(request.grids)}
    ome = multiscales(request.slide.name, grids)
    ome["omero"] = {"channels": _channels(request, arrays[-1]), "rdefs": {"model": "color"}}
    zarr.open_group(path, mode="r+", zarr_format=3).attrs.put({"ome": ome, EXPORT_KEY: request.facts})


def _channels(request: Request, coarsest: zarr.Array[Any]) -> list[dict[str, Any]]:
    """Return the name and the display settings of each channel."""
    channels = []
    for number, (smallest, largest, end) in enumerate(display_ranges(coarsest)):
        start = min(smallest, 0.0)
        # Viewers divide by the range, so it must not be 0.
        end = end if end > start else start + 1.0
        window = {"min": start, "max": max(largest, end), "start": start, "end": end}
        color = "FFFFFF" if len(request.genes) == 1 else _COLORS[number % len(_COLORS)]
        channel = {"label": request.genes[number], "color": color, "active": number < _SHOWN, "window": window}
        channels.append(channel)
    return channels
