"""`pixnet demo`: the main job from end to end, on virtual tissue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixnet.cli.process import keep_freed_memory
from pixnet.cli.progress import Progress


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for everything that the demo makes.")],
) -> None:
    """Train, predict, query and score on virtual tissue, and write a report."""
    keep_freed_memory()
    from pixnet.demo.demo import run_demo

    with Progress() as progress:
        report = run_demo(out, progress)
    typer.echo(f"Report: {report}")
