"""`pixnet query`: a table of expression from a field, over regions of any shape."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixnet.cli.options import OverwriteOption, PolygonsFrame, names
from pixnet.cli.process import share_freed_memory
from pixnet.cli.progress import Progress
from pixnet.cli.query_regions import RegionOptions, regions_of, told_reading


def query(
    field: Annotated[Path, typer.Argument(metavar="FIELD", help="Folder written by `pixnet predict`.")],
    out: Annotated[Path, typer.Option(metavar="TABLE", help="Table to write, .h5ad or .zarr, for AnnData.")],
    disks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Disks: columns x_um and y_um of the centres; id and diameter_um are optional."
        ),
    ] = None,
    # Not called `diameter_um`, because it does not set that argument of the readers that --like uses.
    disks_diameter_um: Annotated[
        float | None, typer.Option("--diameter-um", metavar="D", help="Diameter of the disks, in um.")
    ] = None,
    grid_um: Annotated[
        float | None, typer.Option(metavar="S", help="Cover the slide with squares of this width, in um.")
    ] = None,
    angle_deg: Annotated[
        float | None, typer.Option(metavar="A", help="Rotate the squares by this many degrees, from x towards y.")
    ] = None,
    polygons: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Polygons: GeoJSON in full-resolution pixels, from QuPath or Space Ranger; or in um of a Xenium run: "
            "its cell or nucleus boundaries (parquet, csv), or a selection of Xenium Explorer (csv).",
        ),
    ] = None,
    polygons_frame: Annotated[
        PolygonsFrame | None,
        typer.Option(
            help="What GeoJSON is counted in: pixels of the whole picture, pixels of its scanned part (as QuPath), or "
            "um. Default: pixels; as QuPath if it wrote the file.",
        ),
    ] = None,
    alignment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Xenium's alignment matrix for the slide, if it is not in the folder of the boundaries.",
        ),
    ] = None,
    by_class: Annotated[
        bool,
        typer.Option("--by-class", help="One region for each class of polygons: the area that they cover together."),
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Label mask (TIFF, PNG or npy); 0 is background.")
    ] = None,
    labels_mpp: Annotated[
        float | None, typer.Option(metavar="X", help="Pixel size of the mask in um, if it is not the slide's.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="SAMPLE", help="Take the regions of a measured sample: its folder, or a manifest."),
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="ID", help="Id of the sample in the manifest of --like.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Full-resolution image of the folder of --like.")
    ] = None,
    genes: Annotated[str | None, typer.Option(metavar="A,B", help="Genes to read; default: all.")] = None,
    expected_log: Annotated[
        bool | None,
        typer.Option(
            "--expected-log/--no-expected-log",
            help="Add the layer log1p_expected, to be compared with measured values. Default: with --like.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Read the expression of regions from a field.

    Give one kind of regions: --disks, --grid-um, --polygons, --labels or --like.
    """
    share_freed_memory()
    chosen = names(genes, "--genes")
    options = RegionOptions(
        disks=disks,
        diameter_um=disks_diameter_um,
        grid_um=grid_um,
        angle_deg=angle_deg,
        polygons=polygons,
        polygons_frame=None if polygons_frame is None else polygons_frame.value,
        alignment=alignment,
        by_class=by_class,
        labels=labels,
        labels_mpp=labels_mpp,
        like=like,
        sample=sample,
        image=image,
    )
    options.check()
    from pixnet.field import ExpressionField
    from pixnet.field.read.query import X_UNITS

    opened = ExpressionField.open(field)
    regions, region_names = regions_of(opened, options)
    with Progress() as progress:
        opened.write_table(
            out,
            regions,
            chosen,
            names=region_names,
            expected_log=like is not None if expected_log is None else expected_log,
            overwrite=overwrite,
            progress=lambda done, total: progress("query", done, total, "regions"),
        )
    if (reading := told_reading(opened, options)) is not None:
        typer.echo(reading)
    n_genes = len(chosen or opened.gene_names)
    typer.echo(f"Table: {out} ({len(regions)} regions x {n_genes} genes; {X_UNITS[opened.head.kind]})")
