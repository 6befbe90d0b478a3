"""Building a field, block by block."""

from __future__ import annotations
