"""Speed and memory, as ratios to another program or to a lower bound, measured within one run."""

from __future__ import annotations
