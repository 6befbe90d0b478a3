"""Arguments that the commands of the benchmarks share."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks.accuracy.results import FOLDER


def add_common(parser: argparse.ArgumentParser, out: str) -> None:
    """Add where runs are computed and pages are written."""
    parser.add_argument(
        "--runs", type=Path, default=Path("out/runs"), metavar="DIR", help="folder for runs while they are computed"
    )
    parser.add_argument("--out", type=Path, default=Path(out), metavar="DIR", help="folder for the pages")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))


def add_published(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the arguments of a benchmark whose results are in the repository."""
    parser.add_argument(
        "--results", type=Path, default=FOLDER, metavar="DIR", help="folder of the two tables of all results"
    )
    add_common(parser, out)
    parser.add_argument("--rescore", action="store_true", help="compute all scores again from the predictions")
    parser.add_argument("--command", help="command that the pages name, in place of this one")


def typed(command: str | None, module: str) -> str:
    """Return the command that pages name."""
    return command or shlex.join(["python", "-m", f"benchmarks.accuracy.{module}", *sys.argv[1:]])
