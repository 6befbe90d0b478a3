"""The same network, computed faster or in less memory for prediction."""

from __future__ import annotations
