"""Scores of held-out regions, their intervals and paired tests."""

from __future__ import annotations
