"""OME-NGFF 0.5 metadata of a pyramid of maps, by which viewers place it."""

from __future__ import annotations

from typing import Any

from pixnet.grid import Grid


def multiscales(name: str, grids: dict[str, Grid]) -> dict[str, Any]:
    """Return the metadata of a pyramid.

    Parameters
    ----------
    name
        Name of the image.
    grids
        Grid of each level by the path of its array (c, y, x), finest level first.

    Returns
    -------
    dict
        The value of the group's attribute `ome`.
    """
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    datasets = []
    for path, grid in grids.items():
        pitch = grid.pitch_um
        transforms: list[dict[str, Any]] = [
            {"type": "scale", "scale": [1.0, pitch, pitch]},
            # OME-NGFF gives the position of a pixel's centre; a grid begins at a corner.
            {"type": "translation", "translation": [0.0, grid.y_um + pitch / 2, grid.x_um + pitch / 2]},
        ]
        datasets.append({"path": path, "coordinateTransformations": transforms})
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}
