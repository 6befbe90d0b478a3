"""File formats that several platforms share."""

from __future__ import annotations
