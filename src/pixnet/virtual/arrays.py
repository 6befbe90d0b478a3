"""Arrays of spots on a tissue."""

from __future__ import annotations

import math

import numpy as np

from pixnet.errors import DataError
from pixnet.regions import Disks


def spots(
    width_um: float,
    height_um: float,
    diameter_um: float = 100.0,
    pitch_um: float = 200.0,
    margin_um: float | None = None,
    hexagonal: bool = False,
) -> Disks:
    """Return an array of spots, centred on the tissue, row by row.

    The defaults are those of the first arrays: spots of 100 um on a square lattice of 200 um (Stahl et al., 2016).
    Visium has spots of 55 um on a hexagonal lattice of 100 um.

    Parameters
    ----------
    width_um, height_um
        Size of the tissue, in um.
    diameter_um
        Diameter of a spot, in um.
    pitch_um
        Distance between neighbouring centres, in um.
    margin_um
        Least distance from a spot's centre to the edge, in um; None for the radius of a spot.
    hexagonal
        Whether every other row is shifted by half a pitch.

    Raises
    ------
    DataError
        If a size is not positive, or if no spot fits.
    """
    if not (diameter_um > 0 and pitch_um > 0):
        raise DataError(f"spots of {diameter_um} um at a pitch of {pitch_um} um are not possible; give sizes above 0")
    margin = diameter_um / 2 if margin_um is None else margin_um
    rise = pitch_um * math.sqrt(0.75) if hexagonal else pitch_um
    room_x = width_um - 2 * margin - (pitch_um / 2 if hexagonal else 0.0)
    room_y = height_um - 2 * margin
    if min(room_x, room_y) < 0:
        raise DataError(
            f"no spot of {diameter_um} um with a margin of {margin} um fits into {width_um} x {height_um} um; use a "
            "larger tissue or smaller spots"
        )
    columns = int(room_x / pitch_um + 1e-9) + 1
    rows = int(room_y / rise + 1e-9) + 1
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    x = margin + (room_x - (columns - 1) * pitch_um) / 2 + column * pitch_um
    y = margin + (room_y - (rows - 1) * rise) / 2 + row * rise
    if hexagonal:
        x = x + pitch_um / 2 * (row % 2)
    return Disks(np.stack([x, y], axis=1), diameter_um)
