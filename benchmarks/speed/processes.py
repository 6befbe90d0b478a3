"""Run steps of a benchmark in processes of their own, so that each has its own peak of memory."""

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
    """Run a step of a module in a new process.

    Parameters
    ----------
    module
        Name of the module below `benchmarks.speed`.
    step
        Name of a step that the module gives to `answer`.
    *arguments
        Arguments of the step; it gets them as strings.
    peer
        Whether it runs in the environment of the other programs, `.venv-bench`.
    limit_gb
        Memory that the process may allocate, in GB; None for no limit.

    Returns
    -------
    object
        What the step returned, and the process's peak of memory as `peak_gb`.

    Raises
    ------
    MemoryError
        If the process reached the limit.
    SystemExit
        If it failed for another reason.
    """
    python = str(PEERS) if peer else sys.executable
    if peer and not PEERS.is_file():
        raise SystemExit("the other programs are not installed: run `make .venv-bench/.complete`.")
    command = [python, "-m", f"benchmarks.speed.{module}", step, *map(str, arguments)]
    environment = os.environ | ({_LIMIT: str(limit_gb)} if limit_gb else {})
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)  # noqa: S603
    if done.returncode:
        if limit_gb and re.search(r"MemoryError|can't allocate memory|Unable to allocate|bad_alloc", done.stderr):
            raise MemoryError(f"{module} {step} needs more than {limit_gb:g} GB")
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def answer(steps: dict[str, Any], *, share_memory: bool = True) -> None:
    """Run the step that the command line names, and print its result with the peak of memory (`peak_gb`) as JSON.

    Parameters
    ----------
    steps
        The steps by their names. Each returns a dictionary that JSON can hold.
    share_memory
        Whether the process manages freed memory as `pixnet` does when it reads or writes fields.
    """
    import warnings

    warnings.simplefilter("ignore")
    if limit := os.environ.get(_LIMIT):
        # Only private memory is limited: files that libraries map into memory do not count.
        resource.setrlimit(resource.RLIMIT_DATA, (round(float(limit) * 1e9),) * 2)
    if share_memory:
        share_freed_memory()
    _, step, *arguments = sys.argv
    print(json.dumps(steps[step](*arguments) | {"peak_gb": peak_gb()}))


def peak_gb() -> float:
    """Return the peak of this process's memory in GB; unlike that of `getrusage`, without that of its parent."""
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) * 1024 / 1e9 if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
