"""`pixnet query`: from a field to a table, over regions of any shape."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixnet.cli.options import OverwriteOption, names
from pixnet.cli.process import share_freed_memory
from pixnet.cli.progress import Progress
from pixnet.cli.query_regions import Wanted, regions_of


def query(
    field: Annotated[Path, typer.Argument(metavar="FIELD", help="Folder that `pixnet predict` wrote.")],
    out: Annotated[Path, typer.Option(metavar="TABLE", help="Table to write: .h5ad or .zarr, as AnnData reads it.")],
    disks: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Centres x_um,y_um of disks; also id and diameter_um, if you like."),
    ] = None,
    diameter_um: Annotated[float | None, typer.Option(metavar="D", help="Diameter of the disks.")] = None,
    grid_um: Annotated[float | None, typer.Option(metavar="S", help="Cover the slide with squares this wide.")] = None,
    angle_deg: Annotated[float | None, typer.Option(metavar="A", help="Turn those squares, from x towards y.")] = None,
    polygons: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="GeoJSON in full-resolution pixels, as of QuPath or Space Ranger; or Xenium's cell or nucleus "
            "boundaries (parquet, csv), in um.",
        ),
    ] = None,
    alignment: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Xenium's matrix for the slide, if it is not beside its boundaries."),
    ] = None,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="One region for each class of the polygons: all that it covers.")
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Label mask (TIFF, PNG or npy), 0 is background.")
    ] = None,
    labels_mpp: Annotated[
        float | None, typer.Option(metavar="X", help="um per pixel of the mask, if it is not the slide's.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option(metavar="SAMPLE", help="The regions of a measured sample: its folder, or a manifest.")
    ] = None,
    sample: Annotated[str | None, typer.Option(metavar="ID", help="Which sample of the manifest.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="The full-resolution image of --like.")] = None,
    genes: Annotated[str | None, typer.Option(metavar="A,B", help="Genes to read; all by default.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Read the expression of regions off a field."""
    share_freed_memory()
    wanted = names(genes, "--genes")
    shapes = Wanted(
        disks, diameter_um, grid_um, angle_deg, polygons, alignment, by_class, labels, labels_mpp, like, sample, image
    )  # fmt: skip
    shapes.check()
    from pixnet.field import ExpressionField
    from pixnet.field.read.query import X_UNITS

    opened = ExpressionField.open(field)
    regions, own_names = regions_of(opened, shapes)
    with Progress() as progress:

        def tell(done: int, total: int) -> None:
            progress("query", done, total, "regions")

        opened.write_table(out, regions, wanted, names=own_names, overwrite=overwrite, progress=tell)
    columns = len(wanted or opened.gene_names)
    typer.echo(f"Table: {out} ({len(regions)} regions x {columns} genes; {X_UNITS[opened.head.kind]})")
