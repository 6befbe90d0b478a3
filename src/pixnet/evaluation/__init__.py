"""Evaluation: metrics, baselines, protocol, report, demo."""

from __future__ import annotations
