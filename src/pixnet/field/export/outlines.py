"""Regions of any kind as polygons, to be drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pixnet.errors import FieldError
from pixnet.regions import Disks, Polygons, Regions, Squares


def outlines(regions: Regions) -> NDArray[Any]:
    """Give (n,) shapely polygons in um; a disk's has 32 corners.

    Raises
    ------
    FieldError
        If the regions have no outlines, as those of a label mask.
    """
    if isinstance(regions, Polygons):
        return np.asarray(regions.shapes)
    if isinstance(regions, Squares):
        return np.asarray(shapely.polygons(regions.corners_um))
    if isinstance(regions, Disks):
        return np.asarray(shapely.buffer(shapely.points(regions.centers_um), regions.diameters_um / 2, quad_segs=8))
    raise FieldError(f"the outlines of a {type(regions).__name__} are not known; export it as csv, or give polygons.")
