"""Steps of a benchmark in processes of their own, so that each has its own peak of memory."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from pixnet.cli.process import share_freed_memory

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-bench" / "bin" / "python"
_LIMIT = "BENCHMARK_LIMIT_GB"


def call(module: str, step: str, *arguments: object, peer: bool = False, limit_gb: float | None = None) -> Any:
    """Run a step of a module in a fresh process, and give what it gave.

    Parameters
    ----------
    module, step
        Name of the module below `benchmarks.speed`, and of a function in it whose result JSON can hold.
    arguments
        Its arguments, as words.
    peer
        Whether it runs in the environment of the peers.
    limit_gb
        Memory that the process may allocate; it gets a MemoryError beyond.

    Raises
    ------
    MemoryError
        If the process ran out of its memory.
    SystemExit
        If it failed otherwise.
    """
    python = str(PEERS) if peer else sys.executable
    if peer and not PEERS.is_file():
        raise SystemExit("the peers are not installed: run `make .venv-bench/.complete`.")
    command = [python, "-m", f"benchmarks.speed.{module}", step, *map(str, arguments)]
    environment = os.environ | ({_LIMIT: str(limit_gb)} if limit_gb else {})
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)  # noqa: S603
    if done.returncode:
        if limit_gb and re.search(r"MemoryError|can't allocate memory|Unable to allocate|bad_alloc", done.stderr):
            raise MemoryError(f"{module} {step} needs more than {limit_gb:g} GB")
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def answer(steps: dict[str, Any], *, share_memory: bool = True) -> None:
    """Do the step that the command line names, and print its result with the process's peak of memory (`peak_gb`).

    Unless it says otherwise, memory is held as `pixnet` holds it where fields are written or read; by the peers too.
    """
    import warnings

    warnings.simplefilter("ignore")
    if limit := os.environ.get(_LIMIT):
        # Private memory: what the libraries map from files does not count.
        resource.setrlimit(resource.RLIMIT_DATA, (round(float(limit) * 1e9),) * 2)
    if share_memory:
        share_freed_memory()
    _, step, *arguments = sys.argv
    print(json.dumps(steps[step](*arguments) | {"peak_gb": peak_gb()}))


def peak_gb() -> float:
    """Give the most memory that this process has held; unlike `getrusage`, nothing of the one that started it."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e9 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
