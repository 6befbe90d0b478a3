"""AnnData tables with coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.readers.anndata.reader import read_anndata as read_anndata

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "reader": ["read_anndata"],
    },
)
