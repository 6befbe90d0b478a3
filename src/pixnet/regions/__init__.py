"""The shapes that a slide is measured in: disks, squares of a lattice, label masks and polygons, in um.

All know their areas, their bounds, and their coverage of a grid: how many um^2 of each cell lie in each region. The
coverage is analytic, with no supersampling, so the parts of a partition add up to the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.regions.base import Regions as Regions
    from pixnet.regions.disks import Disks as Disks
    from pixnet.regions.labels import LabelMask as LabelMask
    from pixnet.regions.polygons import Polygons as Polygons
    from pixnet.regions.squares import Squares as Squares

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Regions"],
        "disks": ["Disks"],
        "squares": ["Squares"],
        "polygons": ["Polygons"],
        "labels": ["LabelMask"],
    },
)
