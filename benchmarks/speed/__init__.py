"""Speed and memory, as ratios against a peer or a bound within one run."""

from __future__ import annotations
