"""The golden results that are kept, and how new ones are held against them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pixnet.evaluation.methods import METHODS, method_version

HERE = Path(__file__).parent
KEPT = HERE / "results.json"
OLD = HERE / "old"
"""A model and a field that version 0.1.0 made, which every later one must read."""

# Another kind of processor rounds otherwise; trainings by gradients and their exports drift by this much at most.
TOLERANCE = {"rtol": 0.05, "atol": 0.02}


@cache
def processor() -> str:
    """Name what the last digits of a result depend on beside the code: processor, its instructions, libraries."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags"))][:2]
    facts = [*named, torch.backends.cpu.get_cpu_capability(), os.environ.get("OPENBLAS_CORETYPE", "")]
    versions = [torch.__version__, np.__version__, str(torch.get_num_threads())]
    return f"{named[0] if named else 'unknown'} {hashlib.sha256(repr([facts, versions]).encode()).hexdigest()[:12]}"


@cache
def kept() -> dict[str, Any]:
    """Read the golden results."""
    found: dict[str, Any] = json.loads(KEPT.read_text())
    return found


def differences(golden: Mapping[str, Any], found: Mapping[str, Any], same_processor: bool) -> list[str]:
    """Name what differs: in any bit on the same kind of processor, beyond the tolerance on another."""
    words = [f"{name}: missing" for name in golden if name not in found]
    words += [f"{name}: new" for name in found if name not in golden]
    for name in golden.keys() & found.keys():
        old, new = golden[name], found[name]
        if old["shape"] != new["shape"] and (same_processor or "values" in old):
            words.append(f"{name}: shape {old['shape']} is now {new['shape']}")
        elif same_processor and old["sha256"] != new["sha256"]:
            words.append(f"{name}: {old.get('values', '')} is now {new.get('values', '')}")
        elif "values" in old and not np.allclose(new["values"], old["values"], equal_nan=True, **TOLERANCE):
            words.append(f"{name}: {old['values']} is now {new['values']}")
    return sorted(words)


def versions() -> dict[str, int]:
    """Return the METHOD_VERSION of every method."""
    return {method: method_version(method) for method in METHODS}


def moved_methods(golden: Mapping[str, Any], found: Mapping[str, Any], same_processor: bool) -> list[str]:
    """Return the methods whose predictions differ from the golden ones, of those that both name."""
    keys = {method: f"{method} predictions" for method in METHODS}
    known = {method: key for method, key in keys.items() if key in golden and key in found}
    return [m for m, key in known.items() if differences({key: golden[key]}, {key: found[key]}, same_processor)]


def without_a_new_version(golden: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """Return the methods whose predictions moved although their METHOD_VERSION did not."""
    moved = moved_methods(golden["evaluate"], results["evaluate"], golden["processor"] == results["processor"])
    return [method for method in moved if results["versions"][method] == golden["versions"].get(method)]
