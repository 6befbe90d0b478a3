"""Samples: a slide with its measured regions and counts; genes and gene panels of several samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.sample.sample import Sample as Sample

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"sample": ["Sample"]})
