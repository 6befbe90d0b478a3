"""AnnData tables with coordinates."""

from __future__ import annotations

from pixnet.readers.anndata.reader import read_anndata

__all__ = ["read_anndata"]
