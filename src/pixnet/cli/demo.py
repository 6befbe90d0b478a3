"""`pixnet demo`: every step of the workflow, on virtual tissue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixnet.cli.process import keep_freed_memory
from pixnet.cli.progress import Progress


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files of the demo.")],
) -> None:
    """Train, predict, query and score on virtual tissue.

    The results, with a report on them, are written to --out.
    """
    keep_freed_memory()
    from pixnet.demo.demo import run_demo

    with Progress() as progress:
        report = run_demo(out, progress)
    typer.echo(f"Report: {report}")
