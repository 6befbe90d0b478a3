"""Encoders: from an image to a feature pyramid. A registry describes those that a short name stands for."""

from __future__ import annotations
