"""`pixnet inspect`: what a data set is, what is wrong with it, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixnet.cli.options import names


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder or file as a platform's software wrote it, or a manifest.")
    ],
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="The full-resolution H&E image.")] = None,
    mpp: Annotated[float | None, typer.Option(metavar="X", help="um per pixel of the image.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to put inspect.json, overlay.png and histograms.png.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="A,B", help="Ids of a manifest's samples; all by default.")
    ] = None,
) -> None:
    """Check data before they are used: exit status 0 is good, 1 usable with warnings, 2 not usable."""
    from pixnet.inspection import inspect as look

    found = look(path, image=image, mpp=mpp, samples=names(sample, "--sample"))
    for each in found:
        typer.echo(each.inspection.summary)
        if out is not None:
            from pixnet.inspection.report import write_report

            write_report(each, out / each.inspection.id if path.suffix == ".toml" else out)
    if out is not None:
        typer.echo(f"Report: {out}")
    status = max(each.inspection.status for each in found)
    if status:
        raise typer.Exit(status)
