"""Predictions that are killed at random moments and resumed have the same bytes as an undisturbed one."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed.figures import Figures, Target
from benchmarks.speed.models import untrained
from benchmarks.speed.processes import ROOT
from benchmarks.speed.slides import write_slide

_KILLS, _QUICK_KILLS = 25, 3
_SIDE_UM, _CORE = 1024, 256  # 16 blocks; the kills happen while they are written


def run(quick: bool = False) -> Figures:
    """Predict once undisturbed; then start again, kill and resume several times."""
    kills = _QUICK_KILLS if quick else _KILLS
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        untrained(50).save(folder / "model")
        write_slide(folder / "slide.tif", 4 * _SIDE_UM)
        start = time.perf_counter()
        _start(folder, "undisturbed").wait()
        undisturbed = time.perf_counter() - start
        expected = contents(folder / "undisturbed")
        same, killed_after, blocks = 0, [], []
        for number in range(kills):
            out = f"broken{number}"
            began = time.perf_counter()
            process = _start(folder, out)
            time.sleep(rng.uniform(0.3, 1.0) * undisturbed)
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed_after.append(time.perf_counter() - began)
            blocks.append(_blocks(folder / f"{out}.partial"))
            if _start(folder, out, "--resume").wait():
                raise SystemExit(f"{out} could not be resumed")
            same += contents(folder / out) == expected
    return {
        f"of {kills} kills and resumes, with the bytes of the undisturbed run": Target(same, at_least=kills),
        "undisturbed, s": round(undisturbed, 1),
        "killed after, s": f"{min(killed_after):.1f} to {max(killed_after):.1f}",
        "blocks done when killed": ", ".join(map(str, blocks)),
    }


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder, by its path."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def predict(folder: str, out: str, *options: str) -> None:
    """Predict the slide, in a process that can be killed."""
    from pixnet.model import PixNet
    from pixnet.slide import Slide

    slide = Slide.open(Path(folder) / "slide.tif")
    PixNet.load(Path(folder) / "model").predict(slide, Path(folder) / out, core=_CORE, resume="--resume" in options)


def _start(folder: Path, out: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.speed.kills", str(folder), out, *options]
    return subprocess.Popen(command, cwd=ROOT)  # noqa: S603


def _blocks(partial: Path) -> int | str:
    """Return the number of blocks that a killed run has logged, after the line that logs its start."""
    if not partial.exists():
        return "all"
    log = partial / "log.jsonl"
    return max(log.read_text().count("\n") - 1, 0) if log.exists() else 0


if __name__ == "__main__":
    predict(*sys.argv[1:])
