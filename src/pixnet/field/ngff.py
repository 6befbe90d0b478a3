"""OME-NGFF 0.5: what a Zarr group says of a pyramid of maps, so that viewers put it in its place."""

from __future__ import annotations

from typing import Any

from pixnet.grid import Grid


def multiscales(name: str, grids: dict[str, Grid]) -> dict[str, Any]:
    """Give the metadata of a pyramid.

    Parameters
    ----------
    name
        Name of the image.
    grids
        For the path of each level's array (c, y, x), finest first, the grid of its cells.
    """
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    datasets = []
    for path, grid in grids.items():
        pitch = grid.pitch_um
        transforms: list[dict[str, Any]] = [
            {"type": "scale", "scale": [1.0, pitch, pitch]},
            # OME-NGFF places a pixel's centre; a grid begins at its corner.
            {"type": "translation", "translation": [0.0, grid.y_um + pitch / 2, grid.x_um + pitch / 2]},
        ]
        datasets.append({"path": path, "coordinateTransformations": transforms})
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}
