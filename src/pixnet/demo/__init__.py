"""The demo: from slides to a report on virtual tissue, whose expression is known everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.demo.demo import DemoSize as DemoSize
    from pixnet.demo.demo import run_demo as run_demo

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"demo": ["run_demo", "DemoSize"]})
