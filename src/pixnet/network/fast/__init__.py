"""The same network, computed faster and in less memory for prediction."""

from __future__ import annotations
