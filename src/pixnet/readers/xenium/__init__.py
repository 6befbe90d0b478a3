"""Xenium, as cells, nuclei or squares of transcripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.readers.xenium.reader import read_xenium as read_xenium

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "reader": ["read_xenium"],
    },
)
