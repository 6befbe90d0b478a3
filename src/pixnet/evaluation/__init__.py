"""Evaluation: protocols and their cells, methods, scores, report, demo."""

from __future__ import annotations
