"""Training: targets, batches, features, the loss and the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.training.fit import FitOptions as FitOptions
    from pixnet.training.fit import fit_network as fit_network

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"fit": ["FitOptions", "fit_network"]})
