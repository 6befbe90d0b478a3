"""Look at data before anything is trained on it: what was recognised, what is wrong, and how to mend it."""

from __future__ import annotations

from pixnet.inspection.findings import Finding, Inspection
from pixnet.inspection.inspect import inspect, inspect_entry

__all__ = ["Finding", "Inspection", "inspect", "inspect_entry"]
