"""Check data before training: which platform they are from, what is wrong with them, and how to fix it."""

from __future__ import annotations

from pixnet.inspection.findings import Finding, Inspection
from pixnet.inspection.inspector import Inspected, inspect, inspect_entry, inspect_sample

__all__ = ["Finding", "Inspected", "Inspection", "inspect", "inspect_entry", "inspect_sample"]
