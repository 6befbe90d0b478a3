"""Accuracy on real and virtual tissue: every method on the same folds, with one long table of scores."""

from __future__ import annotations
