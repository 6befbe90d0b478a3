"""Reading regions and maps off a field."""

from __future__ import annotations
