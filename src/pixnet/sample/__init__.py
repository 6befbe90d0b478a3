"""A slide with its measured regions and counts, and the genes and panels of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.sample.sample import Sample as Sample

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "sample": ["Sample"],
    },
)
