"""Benchmarks of speed and memory (`speed`) and of accuracy (`accuracy`); see README.md."""

from __future__ import annotations
