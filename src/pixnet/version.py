"""The version of the package, and what else results depend on in their last digits: libraries and machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

__version__ = "0.1.0"

_LIBRARIES = ("numpy", "scipy", "torch", "timm", "scikit-learn", "anndata")


@cache
def commit() -> str:
    """Return the commit of the package's source, with `-dirty` where files differ from it; "" outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def environment() -> dict[str, str]:
    """Return the versions that results may depend on in their last digits."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    source = {"commit": commit()} if commit() else {}
    return {"pixnet": __version__, **source, "python": platform.python_version(), **libraries}


@cache
def machine() -> str:
    """Name the processor, and how many of its cores may be used."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {cores} cores, {platform.system()}"
