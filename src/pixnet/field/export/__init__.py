"""Fields in other programs' formats, written block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pixnet.errors import FieldError
from pixnet.field.export.csv_table import write_csv
from pixnet.field.export.geojson import write_geojson
from pixnet.field.export.ome_tiff import write_ome_tiff
from pixnet.field.export.ome_zarr import write_ome_zarr
from pixnet.field.export.place import beside
from pixnet.field.export.request import Order, Progress
from pixnet.field.export.spatialdata_zarr import write_spatialdata
from pixnet.regions import Regions

if TYPE_CHECKING:
    from pixnet.field.field import ExpressionField

__all__ = ["FORMATS", "export"]

_GRID_UM = 100.0


class Format(NamedTuple):
    """A format: how it is written, what its names end in, and whether it is a folder and holds images, regions."""

    write: Callable[[Order, Path], None]
    endings: tuple[str, ...]
    folder: bool
    images: bool
    regions: bool


FORMATS = {
    "ome-zarr": Format(write_ome_zarr, (".zarr",), True, True, False),
    "ome-tiff": Format(write_ome_tiff, (".ome.tif", ".ome.tiff"), False, True, False),
    "spatialdata": Format(write_spatialdata, (".zarr",), True, True, True),
    "geojson": Format(write_geojson, (".geojson", ".json"), False, False, True),
    "csv": Format(write_csv, (".csv", ".csv.gz"), False, False, True),
}


def export(
    field: ExpressionField,
    out: str | Path,
    to: str,
    genes: Sequence[str],
    *,
    log: bool = False,
    level: int | None = None,
    regions: Regions | None = None,
    grid_um: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write maps or regions of some genes for other programs; see `ExpressionField.export`."""
    out = Path(out)
    if to not in FORMATS:
        raise FieldError(f"there is no format {to!r}; there are {', '.join(FORMATS)}.")
    form = FORMATS[to]
    if not out.name.endswith(form.endings) or out.name in form.endings:
        raise FieldError(f"{out}: programs know {to} by its name; give one that ends in {' or '.join(form.endings)}.")
    if level is not None and not form.images:
        raise FieldError(f"a level of the pyramid makes an image, and {to} holds regions; give the side of squares.")
    if (regions is not None or grid_um is not None) and not form.regions:
        raise FieldError(f"{to} holds images, no regions; give neither regions nor squares, or choose another format.")
    if regions is not None and grid_um is not None:
        raise FieldError("regions and the side of squares were given; choose one.")
    if not form.images and regions is None and grid_um is None:
        grid_um = _GRID_UM
    names = (genes,) if isinstance(genes, str) else tuple(genes)
    order = Order(field, names, log, level or 0, regions, grid_um, progress or (lambda *_: None))
    _ = order.readout, order.grids  # refuses what the field has not got before anything is made
    with beside(out, field.path, folder=form.folder, overwrite=overwrite) as partial:
        form.write(order, partial)
