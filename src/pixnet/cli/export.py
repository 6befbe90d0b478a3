"""`pixnet export`: maps and regions of a field in other programs' formats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixnet.cli.options import OverwriteOption, names
from pixnet.cli.process import share_freed_memory
from pixnet.cli.progress import Progress
from pixnet.errors import DataError

if TYPE_CHECKING:
    from pixnet.regions import Regions


class To(StrEnum):
    """Formats, as they are called on the command line and in Python."""

    ome_zarr = "ome-zarr"
    ome_tiff = "ome-tiff"
    spatialdata = "spatialdata"
    geojson = "geojson"
    csv = "csv"


def export(
    field: Annotated[Path, typer.Argument(metavar="FIELD", help="Folder that `pixnet predict` wrote.")],
    genes: Annotated[str, typer.Option(metavar="A,B", help="Genes to export.")],
    to: Annotated[To, typer.Option(help="Format: the first three hold images, the others regions.")],
    out: Annotated[
        Path, typer.Option(metavar="PATH", help="Its name ends in .zarr, .ome.tif, .geojson or .csv, as --to says.")
    ],
    log: Annotated[bool, typer.Option("--log", help="log1p of counts per 10,000 in place of counts.")] = False,
    level: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Images: finest level of the pyramid; 0 has all detail.")
    ] = None,
    grid_um: Annotated[
        float | None, typer.Option(metavar="S", help="Regions: squares this wide over the slide; 100 by default.")
    ] = None,
    polygons: Annotated[
        Path | None,
        typer.Option(metavar="FILE.geojson", help="Regions: polygons in full-resolution pixels, as from QuPath."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write maps or regions of a field for napari, QuPath, Vitessce, squidpy and others.

    With --to spatialdata, --grid-um or --polygons add a table of regions to the image.
    """
    share_freed_memory()
    wanted = names(genes, "--genes") or []
    if grid_um is not None and polygons is not None:
        raise DataError("--grid-um and --polygons: give one of them.")
    from pixnet.field import ExpressionField

    opened = ExpressionField.open(field)
    regions: Regions | None = None
    if polygons is not None:
        from pixnet.regions import Polygons

        regions = Polygons.from_geojson(polygons, opened.attributes.slide.mpp)
    with Progress() as progress:
        opened.export(
            out,
            to.value,
            wanted,
            log=log,
            level=level,
            regions=regions,
            grid_um=grid_um,
            overwrite=overwrite,
            progress=lambda done, total: progress("export", done, total),
        )
    typer.echo(f"Export: {out} ({len(wanted)} gene{'s' * (len(wanted) > 1)} as {to.value})")
