"""Building a field: reading, computing, scaling and writing its blocks."""

from __future__ import annotations
