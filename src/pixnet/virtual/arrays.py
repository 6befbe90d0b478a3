"""Where an array's spots lie on a tissue."""

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
    """Lay out spots, centred on the tissue, row by row.

    The defaults are those of the first arrays: 100 um on a square lattice of 200 um (Stahl et al., 2016). Visium has
    55 um on a hexagonal one of 100 um.

    Parameters
    ----------
    width_um, height_um
        Extent of the tissue.
    diameter_um
        Diameter of a spot.
    pitch_um
        Distance of neighbouring centres.
    margin_um
        Least distance from a spot's centre to the edge; None for its radius.
    hexagonal
        Whether every other row is shifted by half a pitch.

    Raises
    ------
    DataError
        If a size is not positive, or no spot fits.
    """
    if not (diameter_um > 0 and pitch_um > 0):
        raise DataError(
            f"spots of {diameter_um} um at a pitch of {pitch_um} um cannot be laid out; both must be above 0"
        )
    margin = diameter_um / 2 if margin_um is None else margin_um
    rise = pitch_um * math.sqrt(0.75) if hexagonal else pitch_um
    room = width_um - 2 * margin - (pitch_um / 2 if hexagonal else 0.0), height_um - 2 * margin
    if min(room) < 0:
        raise DataError(f"no spot of {diameter_um} um with a margin of {margin} um fits {width_um} x {height_um} um")
    columns, rows = int(room[0] / pitch_um + 1e-9) + 1, int(room[1] / rise + 1e-9) + 1
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    x = margin + (room[0] - (columns - 1) * pitch_um) / 2 + column * pitch_um
    y = margin + (room[1] - (rows - 1) * rise) / 2 + row * rise
    if hexagonal:
        x = x + pitch_um / 2 * (row % 2)
    return Disks(np.stack([x, y], axis=1), diameter_um)
