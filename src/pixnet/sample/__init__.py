"""Samples: a slide with its measured regions and counts; genes and gene panels of several samples."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
