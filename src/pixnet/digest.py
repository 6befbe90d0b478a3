"""Hashes of facts: what is stored on disk is found again by everything that it depends on."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(facts: Any) -> str:
    """Return the SHA-256, in hex, of anything that JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
