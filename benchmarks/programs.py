"""Whole commands: wall time and the peak memory of the process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HER2ST = Path(__file__).resolve().parents[2] / "shared" / "data" / "her2st" / "samples.toml"


def _measure(arguments: list[str]) -> dict[str, float | str]:
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pixnet", *arguments], stdout=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"pixnet {' '.join(arguments)} failed")
    return {"minutes": round(wall / 60, 2), "peak memory, GB": round(usage.ru_maxrss / 1e6, 2)}


def demo() -> dict[str, float | str]:
    """Measure `pixnet demo`."""
    with tempfile.TemporaryDirectory() as folder:
        return _measure(["demo", "--out", f"{folder}/demo"])


def evaluate() -> dict[str, float | str]:
    """Measure `pixnet evaluate` on Her2ST with C3 held out, where the data is at hand."""
    if not HER2ST.exists():
        return {"skipped": f"no data at ../shared ({HER2ST.name})"}
    with tempfile.TemporaryDirectory() as folder:
        return _measure(["evaluate", str(HER2ST), "--hold-out", "C3", "--out", f"{folder}/c3"])
