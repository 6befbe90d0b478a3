"""Whole commands: wall time and the peak memory of the process."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.speed.figures import Figures
from benchmarks.speed.processes import answer, call

HER2ST = Path(__file__).resolve().parents[3] / "shared" / "data" / "her2st" / "samples.toml"


class Measured(NamedTuple):
    """Wall time, start of the process included, and peak memory of a command."""

    seconds: float
    peak_gb: float


def measured(*arguments: object) -> Measured:
    """Run `pixnet` with some arguments in a process of its own."""
    start = time.perf_counter()
    peak = call("programs", "pixnet", *arguments)["peak_gb"]
    return Measured(time.perf_counter() - start, peak)


def demo() -> Figures:
    """Measure `pixnet demo`."""
    with tempfile.TemporaryDirectory() as folder:
        return _figures(measured("demo", "--out", f"{folder}/demo"))


def evaluate() -> Figures:
    """Measure `pixnet evaluate` on Her2ST with C3 held out, where the data is at hand."""
    if not HER2ST.exists():
        return {"skipped": f"no data at ../shared ({HER2ST.name})"}
    with tempfile.TemporaryDirectory() as folder:
        return _figures(measured("evaluate", HER2ST, "--hold-out", "C3", "--out", f"{folder}/c3"))


def _figures(found: Measured) -> Figures:
    return {"minutes": round(found.seconds / 60, 2), "peak memory, GB": round(found.peak_gb, 2)}


def pixnet(*arguments: str) -> dict[str, float]:
    """Do what the command line does, which chooses itself how memory is held."""
    from pixnet.cli import main

    sys.argv = ["pixnet", *arguments]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    return {}


if __name__ == "__main__":
    answer({"pixnet": pixnet}, share_memory=False)
