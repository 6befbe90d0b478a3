"""Fields in the formats of other programs, written block by block."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pixnet.errors import FieldError
from pixnet.field.export.images import write_ome_tiff, write_ome_zarr
from pixnet.field.export.request import Request
from pixnet.field.export.spatialdata_zarr import write_spatialdata
from pixnet.field.export.tables import write_csv, write_geojson
from pixnet.field.store import KEY
from pixnet.files import check_place, writing_beside

__all__ = ["FORMATS", "Request", "export"]

_GRID_UM = 100.0


class Format(NamedTuple):
    """A format that a field can be exported to: a file or a folder with images, regions or both.

    Programs recognise it by the endings of names.
    """

    write: Callable[[Request, Path], None]
    endings: tuple[str, ...]
    folder: bool
    images: bool
    regions: bool


FORMATS = {
    "ome-zarr": Format(write_ome_zarr, (".zarr",), folder=True, images=True, regions=False),
    "ome-tiff": Format(write_ome_tiff, (".ome.tif", ".ome.tiff"), folder=False, images=True, regions=False),
    "spatialdata": Format(write_spatialdata, (".zarr",), folder=True, images=True, regions=True),
    "geojson": Format(write_geojson, (".geojson", ".json"), folder=False, images=False, regions=True),
    "csv": Format(write_csv, (".csv", ".csv.gz"), folder=False, images=False, regions=True),
}


def export(request: Request, out: Path, to: str, *, overwrite: bool = False) -> None:
    """Write maps or regions of some genes for other programs; see `ExpressionField.export`."""
    if to not in FORMATS:
        raise FieldError(f"the format {to!r} is not known; the formats are {', '.join(FORMATS)}.")
    form = FORMATS[to]
    if not out.name.endswith(form.endings) or out.name in form.endings:
        endings = " or ".join(form.endings)
        raise FieldError(f"{out}: programs recognise {to} by its name; give one that ends in {endings}.")
    if request.level is not None and not form.images:
        raise FieldError(f"`level` is the level of the pyramid for an image, but {to} holds regions; use `grid_um`.")
    if request.has_regions and not form.regions:
        raise FieldError(f"{to} holds images, not regions; leave out `regions` and `grid_um`, or use another format.")
    if request.regions is not None and request.grid_um is not None:
        raise FieldError("`regions` and `grid_um` exclude each other; choose one.")
    if not form.images and not request.has_regions:
        request = replace(request, grid_um=_GRID_UM)
    _ = request.readout, request.grids  # raises if the field does not have the genes or the level
    what = "an export (a Zarr store)" if form.folder else "a file"
    replaceable = partial(_is_export, form)
    source = request.store.path
    check_place(out, FieldError, what=what, replaceable=replaceable, overwrite=overwrite, source=source)
    with writing_beside(out, FieldError) as unfinished:
        form.write(request, unfinished)


def _is_export(form: Format, path: Path) -> bool:
    """Return whether a path is a file, or for a folder an empty one or a Zarr 3 store that is not a field."""
    if path.is_dir() != form.folder:
        return False
    if not form.folder or not any(path.iterdir()):
        return True
    try:
        metadata = json.loads((path / "zarr.json").read_text())
        return metadata["zarr_format"] == 3 and KEY not in metadata.get("attributes", {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
