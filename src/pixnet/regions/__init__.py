"""Regions that a slide is measured in: disks, squares of a lattice, label masks and polygons, in um.

All kinds of regions have areas, bounds and a coverage of a grid: the area in um^2 of each region within each pixel of
the grid. The coverage is analytic, without supersampling. So the areas of regions that partition a pixel add up to the
area of the pixel.
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
