"""Hashes of facts: what is stored on disk is found again by everything that it depends on, and damage is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SEAL = "sha256"  # key of a digest among the facts that it is of


def digest(facts: Any) -> str:
    """Return the SHA-256, in hex, of anything that JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts together with their own digest, for `unsealed`."""
    return {**facts, _SEAL: digest(facts)}


def unsealed(text: str | bytes) -> dict[str, Any] | None:
    """Return the facts of a JSON text that `sealed` made; None if it was damaged or is something else."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict):
        return None
    seal = facts.pop(_SEAL, None)
    return facts if seal == digest(facts) else None
