"""What results depend on beside settings: hashes of the inputs, versions of the libraries, the machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from pixnet.sample import Sample
from pixnet.version import __version__

_LIBRARIES = ("numpy", "scipy", "torch", "timm", "scikit-learn", "anndata")


def counts_hash(sample: Sample) -> str:
    """Hash a sample's counts and the names of its genes."""
    matrix, content = sample.counts.matrix, hashlib.sha256()
    for part in (matrix.indptr.astype("<i8"), matrix.indices.astype("<i8"), matrix.data.astype("<f4")):
        content.update(part.tobytes())
    content.update("\n".join(map(str, sample.genes)).encode())
    return content.hexdigest()


def positions_hash(sample: Sample) -> str:
    """Hash where a sample's regions are, how large they are, and how large the slide's pixels are.

    In units of 1e-4 um, or um^2: where a pixel size is fitted to the spots, processors differ in the last of 16 digits.
    """
    regions = sample.regions
    content = hashlib.sha256(f"{type(regions).__name__} {sample.slide.mpp:.9g}".encode())
    for part in (regions.centers_um, regions.bounds_um, regions.areas_um2):
        content.update(np.rint(np.asarray(part, np.float64) * 1e4).astype("<i8").tobytes())
    return content.hexdigest()


def sample_hashes(sample: Sample) -> dict[str, str]:
    """Return the three hashes of a sample: of its slide, its counts and its positions."""
    return {
        "slide_sha256": sample.slide.fingerprint(),
        "counts_sha256": counts_hash(sample),
        "positions_sha256": positions_hash(sample),
    }


@cache
def commit() -> str:
    """Return the commit of the package's source, with `-dirty` where files differ from it; "" outside a checkout."""
    folder = Path(__file__).resolve().parents[3]
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
