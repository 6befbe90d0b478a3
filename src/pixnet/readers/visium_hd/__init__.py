"""Visium HD, as bins or as segmented cells."""

from __future__ import annotations

from pixnet.readers.visium_hd.bins import read_visium_hd
from pixnet.readers.visium_hd.cells import read_visium_hd_cells

__all__ = ["read_visium_hd", "read_visium_hd_cells"]
