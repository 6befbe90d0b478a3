"""Scores of predictions against what was measured: metrics, intervals, paired tests, and the long table of them."""

from __future__ import annotations
