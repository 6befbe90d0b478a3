"""Look at data before anything is trained on it: what was recognised, what is wrong, and how to mend it."""

from __future__ import annotations

from pixnet.inspection.findings import Finding, Inspection
from pixnet.inspection.inspector import Inspected, inspect, inspect_entry, inspect_sample

__all__ = ["Finding", "Inspected", "Inspection", "inspect", "inspect_entry", "inspect_sample"]
