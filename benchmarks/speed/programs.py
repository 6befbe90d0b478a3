"""Complete commands: their time and peak memory."""

from __future__ import annotations

import sys
import tempfile
import time
from typing import NamedTuple

from benchmarks.speed.figures import Figures
from benchmarks.speed.processes import ROOT, answer, call

HER2ST = ROOT.parent / "shared" / "data" / "her2st" / "samples.toml"


class Measured(NamedTuple):
    """Time of a command, including the start of its process, and its peak memory."""

    seconds: float
    peak_gb: float


def measured(*arguments: object) -> Measured:
    """Run `pixnet` with these arguments in a process of its own."""
    start = time.perf_counter()
    peak = call("programs", "pixnet", *arguments)["peak_gb"]
    return Measured(time.perf_counter() - start, peak)


def demo() -> Figures:
    """Measure `pixnet demo`."""
    with tempfile.TemporaryDirectory() as folder:
        return _figures(measured("demo", "--out", f"{folder}/demo"))


def evaluate() -> Figures:
    """Measure `pixnet evaluate` on Her2ST with C3 held out, if the data are available."""
    if not HER2ST.exists():
        return {"skipped": f"{HER2ST} does not exist"}
    with tempfile.TemporaryDirectory() as folder:
        return _figures(measured("evaluate", HER2ST, "--hold-out", "C3", "--out", f"{folder}/c3"))


def _figures(command: Measured) -> Figures:
    return {"minutes": round(command.seconds / 60, 2), "peak memory, GB": round(command.peak_gb, 2)}


def pixnet(*arguments: str) -> dict[str, float]:
    """Run the command line, which sets how freed memory is managed."""
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
