"""The model that a user trains, saves, loads and predicts with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.model.pixnet import PixNet as PixNet

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pixnet": ["PixNet"],
    },
)
