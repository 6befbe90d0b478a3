"""H&E slides: read pixels at any resolution in um, from any image format and pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.slide.slide import Slide as Slide

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"slide": ["Slide"]})
