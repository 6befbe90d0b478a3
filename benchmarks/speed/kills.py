"""One prediction, killed at random moments and resumed: the bytes are those of an unbroken one each time."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed.figures import Figures, Reached
from benchmarks.speed.models import untrained
from benchmarks.speed.slides import write_slide

_KILLS, _QUICK_KILLS = 25, 3
_SIDE_UM, _CORE = 1024, 256  # 16 blocks, whose writing the kills fall into


def run(quick: bool = False) -> Figures:
    """Predict once undisturbed; then kill and resume as often as wanted, each time from the beginning."""
    kills = _QUICK_KILLS if quick else _KILLS
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        untrained(50).save(folder / "model")
        write_slide(folder / "slide.tif", 4 * _SIDE_UM)
        start = time.perf_counter()
        _start(folder, "whole").wait()
        whole, undisturbed = contents(folder / "whole"), time.perf_counter() - start
        same, after, left = 0, [], []
        for number in range(kills):
            out = f"broken{number}"
            began = time.perf_counter()
            process = _start(folder, out)
            time.sleep(rng.uniform(0.3, 1.0) * undisturbed)
            process.send_signal(signal.SIGKILL)
            process.wait()
            after.append(time.perf_counter() - began)
            left.append(_blocks(folder / f"{out}.partial"))
            if _start(folder, out, "--resume").wait():
                raise SystemExit(f"{out} could not be resumed")
            same += contents(folder / out) == whole
    return {
        f"of {kills} kills and resumes, with the bytes of the undisturbed run": Reached(same, at_least=kills),
        "undisturbed, s": round(undisturbed, 1),
        "killed after, s": f"{min(after):.1f} to {max(after):.1f}",
        "blocks done when killed": ", ".join(map(str, left)),
    }


def contents(folder: Path) -> dict[str, str]:
    """Hash every file of a folder."""
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
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], env=os.environ)  # noqa: S603


def _blocks(partial: Path) -> int | str:
    """Count the blocks that a killed run has noted; the first line notes the beginning."""
    if not partial.exists():
        return "all"
    log = partial / "log.jsonl"
    return max(log.read_text().count("\n") - 1, 0) if log.exists() else 0


if __name__ == "__main__":
    predict(*sys.argv[1:])
