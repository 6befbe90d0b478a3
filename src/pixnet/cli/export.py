"""`pixnet export`: maps and regions of a field in the file formats of other programs."""

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
    """Formats, named as in Python."""

    ome_zarr = "ome-zarr"
    ome_tiff = "ome-tiff"
    spatialdata = "spatialdata"
    geojson = "geojson"
    csv = "csv"


def export(
    field: Annotated[Path, typer.Argument(metavar="FIELD", help="Folder written by `pixnet predict`.")],
    genes: Annotated[str, typer.Option(metavar="A,B", help="Genes to export.")],
    to: Annotated[To, typer.Option(help="File format: the first three hold images, the others regions.")],
    out: Annotated[
        Path,
        typer.Option(metavar="PATH", help="Output; its name ends in .zarr, .ome.tif, .geojson or .csv, to match --to."),
    ],
    log: Annotated[bool, typer.Option("--log", help="Write log1p of counts per 10,000 instead of counts.")] = False,
    level: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Images: finest level of the pyramid to write; 0 has full detail."),
    ] = None,
    grid_um: Annotated[
        float | None,
        typer.Option(metavar="S", help="Regions: width in um of squares that cover the slide; default: 100."),
    ] = None,
    polygons: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Regions: polygons, as for --polygons of pixnet query."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Export maps or regions of a field to other file formats.

    The files open in napari, QuPath, Vitessce, squidpy and other programs. With --to spatialdata, --grid-um or
    --polygons adds a table of regions to the image.
    """
    share_freed_memory()
    chosen = names(genes, "--genes") or []
    if grid_um is not None and polygons is not None:
        raise DataError("--grid-um and --polygons cannot be combined; give one of them.")
    from pixnet.field import ExpressionField

    opened = ExpressionField.open(field)
    regions: Regions | None = None
    if polygons is not None:
        from pixnet.readers.annotations import read_annotations

        regions = read_annotations(polygons, opened.attributes.slide.frames)
    with Progress() as progress:
        opened.export(
            out,
            to.value,
            chosen,
            log=log,
            level=level,
            regions=regions,
            grid_um=grid_um,
            overwrite=overwrite,
            progress=lambda done, total: progress("export", done, total),
        )
    typer.echo(f"Export: {out} ({len(chosen)} gene{'s' * (len(chosen) > 1)} as {to.value})")
