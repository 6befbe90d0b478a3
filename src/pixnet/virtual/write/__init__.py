"""Write virtual samples in the file layouts of the platforms."""

from __future__ import annotations
