"""`pixnet info`: what a file or folder is, whatever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixnet.cli.describe import describe
from pixnet.errors import DataError


def info(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder of any kind.")],
    genes: Annotated[
        bool, typer.Option("--genes", help="List the genes of a model, field, sample or table, one on each line.")
    ] = False,
) -> None:
    """Say what a slide, sample, manifest, model, field or table is.

    It only reads; `pixnet inspect` checks a data set for problems.
    """
    about = describe(path)
    if genes:
        if not about.genes:
            raise DataError(f"{path}: it is {about.kind}, which has no list of genes.")
        typer.echo("\n".join(about.genes))
        return
    typer.echo(f"{path}: {about.kind}")
    width = max(map(len, about.facts), default=0)
    for name, value in about.facts.items():
        typer.echo(f"  {name.ljust(width)}  {value}")
    if about.advice:
        typer.echo(about.advice)
