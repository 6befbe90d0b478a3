"""Training: what a batch is, and the loop."""

from __future__ import annotations
