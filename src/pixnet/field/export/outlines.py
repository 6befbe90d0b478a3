"""Regions of any kind as polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pixnet.errors import FieldError
from pixnet.regions import Disks, Polygons, Regions, Squares


def outlines(regions: Regions) -> NDArray[Any]:
    """Return the outlines of n regions as shapely polygons in um, shape (n,); that of a disk has 32 corners.

    Raises
    ------
    FieldError
        If the outlines are not known, as for a label mask.
    """
    if isinstance(regions, Polygons):
        return np.asarray(regions.shapes)
    if isinstance(regions, Squares):
        return np.asarray(shapely.polygons(regions.corners_um))
    if isinstance(regions, Disks):
        return np.asarray(shapely.buffer(shapely.points(regions.centers_um), regions.diameters_um / 2, quad_segs=8))
    raise FieldError(
        f"the outlines of a {type(regions).__name__} are not known; export its regions as csv, or give polygons."
    )
