"""Speed and memory, measured as ratios within one run; see docs/benchmarks.md."""

from __future__ import annotations
