"""Outlines that a user drew on a slide, in any program, as regions in um of the slide."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

from pixnet.errors import DataError, PixNetWarning
from pixnet.regions import Polygons
from pixnet.regions.annotations import is_from_qupath
from pixnet.slide.frame import Frame, Frames

VERTEX_FILES = (".parquet", ".csv", ".csv.gz")
"""Endings of the files of a Xenium run, and of Xenium Explorer, that hold outlines as rows of vertices."""


OutlineFrame = Literal["canvas", "bounds", "um"]
"""What coordinates are counted in: full-resolution pixels from the corner of the whole picture, or from that of the
scanned part as in QuPath; or um from the corner of the whole picture."""


def read_annotations(
    path: Path,
    frames: Frames,
    frame: OutlineFrame | None = None,
    *,
    alignment: str | Path | None = None,
    run: Path | None = None,
) -> Polygons:
    """Read outlines as regions of a slide.

    Parameters
    ----------
    path
        GeoJSON, packed or not; or rows of vertices in um of a Xenium run: a selection of Xenium Explorer (CSV), or the
        boundaries of cells or nuclei (CSV, parquet).
    frames
        The frames of the slide.
    frame
        What the coordinates of GeoJSON are counted in. By default in pixels: of the scanned part if QuPath wrote the
        file, else of the canvas.
    alignment, run
        For rows of vertices: the alignment matrix of the run, and the folder of the run; by default the matrix that is
        in the folder, and the folder of the file.

    Raises
    ------
    DataError
        If the file cannot be read or holds no polygon.

    Warns
    -----
    PixNetWarning
        If something is left out or put right, if outlines are beyond the picture, or if the frame is not certain.
    """
    if holds_vertices(path):
        if frame is not None:
            raise DataError(f"{path}: is in um of the Xenium run, so no other frame can be given for it.")
        polygons = _from_xenium(path, frames, alignment, run)
    else:
        polygons = _from_geojson(path, frames, frame)
    _check_inside(path, polygons, frames.canvas)
    return polygons


def holds_vertices(path: Path) -> bool:
    """Return whether a file holds rows of vertices, by its ending."""
    return path.name.lower().endswith(VERTEX_FILES)


def _from_xenium(path: Path, frames: Frames, alignment: str | Path | None, run: Path | None) -> Polygons:
    from pixnet.readers.xenium.outlines import read_boundaries
    from pixnet.readers.xenium.selection import read_selection

    mpp = frames.canvas.mpp
    selection = read_selection(path, mpp, alignment, run)
    return read_boundaries(path, mpp, alignment) if selection is None else selection


def chosen_frame(path: Path, frames: Frames, frame: OutlineFrame | None = None) -> OutlineFrame:
    """Return what the coordinates of a GeoJSON file are counted in: the given frame, or by the file."""
    if frame == "bounds" and frames.bounds is None:
        raise DataError(f"{path}: the slide has no bounds, so coordinates cannot be counted from them.")
    if frame is not None:
        return frame
    return "bounds" if frames.bounds is not None and is_from_qupath(path) else "canvas"


def _from_geojson(path: Path, frames: Frames, frame: OutlineFrame | None) -> Polygons:
    chosen = chosen_frame(path, frames, frame)
    if frames.bounds is not None and frame is None:
        place = f"x = {frames.bounds.x_um:.0f} um and y = {frames.bounds.y_um:.0f} um"
        corner = f"the corner of the scanned part, {place}"
        told = f"as QuPath does: from {corner}" if chosen == "bounds" else f"from the whole picture, not {corner}"
        _warn(f"{path}: only a part of the slide was scanned. Coordinates are counted {told}.")
    if chosen == "um":
        return Polygons.from_geojson(path, 1.0)
    counted = frames.bounds if chosen == "bounds" and frames.bounds is not None else frames.canvas
    return Polygons.from_geojson(path, counted.mpp, (counted.x_um, counted.y_um))


def _check_inside(path: Path, polygons: Polygons, canvas: Frame) -> None:
    """Warn of outlines whose centre is beyond the picture, if some but not all are."""
    outside = int((~canvas.holds(polygons.centers_um)).sum())
    if 0 < outside < len(polygons):
        width, height = canvas.size_um
        _warn(
            f"{path}: {outside} of {len(polygons)} outlines are beyond the picture of {width:.0f} x {height:.0f} um. "
            "The file may be of another slide, or in another unit than was assumed."
        )


def _warn(message: str) -> None:
    warnings.warn(message, PixNetWarning, stacklevel=4)
