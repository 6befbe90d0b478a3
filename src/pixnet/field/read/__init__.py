"""Reading a stored field: integrals over regions, tables and maps."""

from __future__ import annotations
