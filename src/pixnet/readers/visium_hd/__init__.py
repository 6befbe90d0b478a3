"""Visium HD, as bins or as segmented cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.readers.visium_hd.bins import read_visium_hd as read_visium_hd
    from pixnet.readers.visium_hd.cells import read_visium_hd_cells as read_visium_hd_cells

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bins": ["read_visium_hd"],
        "cells": ["read_visium_hd_cells"],
    },
)
