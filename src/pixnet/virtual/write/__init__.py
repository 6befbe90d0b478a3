"""Virtual samples written in the layouts of the platforms."""

from __future__ import annotations
