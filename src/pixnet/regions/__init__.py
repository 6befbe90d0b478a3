"""Regions that a slide is measured in: disks, squares of a lattice, label masks and polygons, in um.

All kinds of regions have areas, bounds and a coverage of a grid: the area in um^2 of each region within each pixel of
the grid. The coverage is analytic, without supersampling. So the areas of regions that partition a pixel add up to the
area of the pixel.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
