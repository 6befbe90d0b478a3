"""The demo: from slides to a report on virtual tissue, whose expression is known everywhere."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
