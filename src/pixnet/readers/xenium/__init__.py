"""Xenium, as cells, nuclei or squares of transcripts."""

from __future__ import annotations

from pixnet.readers.xenium.reader import read_xenium

__all__ = ["read_xenium"]
