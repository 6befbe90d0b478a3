"""Fit of the lattice of Visium HD on the image: turned, perhaps mirrored, perhaps with perspective.

Space Ranger registers the chip on the image by a projective map, so that a true lattice of squares may be off by some
micrometres at a corner. The perspective is fitted apart from the turn and the scale, which determine the pixel size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pixnet.regions.coverage_edges import projected

_ROUNDING = 1e-3  # of a side: by how much a lattice may be off without being bent
_FEW = 8  # bins that a perspective, with its eight numbers, would fit in any case
_BETTER = 0.5  # share of the lattice's distance from the positions that a perspective may leave at most

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lattice:
    """Position of the lattice on the image, by least squares.

    Attributes
    ----------
    x_px, y_px
        The corner of row 0 and column 0 in full-resolution pixels.
    side_px
        Side of a bin in full-resolution pixels.
    angle_deg
        Turn from x towards y.
    mirrored
        Whether columns run against x once the turn is undone, so that column c is -c - 1 of an unmirrored lattice.
    mean_off_px, most_off_px
        Mean and greatest distance of the stated positions from those of the lattice, with its perspective.
    perspective
        (3, 3) projective matrix from pixels of that lattice to pixels of the image; None if there is none.
    """

    x_px: float
    y_px: float
    side_px: float
    angle_deg: float
    mirrored: bool
    mean_off_px: float
    most_off_px: float
    perspective: Floats | None = None


def fit_lattice(bins: Floats) -> Lattice | str:
    """Fit a turned, perhaps mirrored square lattice to the centres of bins.

    Parameters
    ----------
    bins
        Row and column in the lattice, x and y of the centre in pixels, shape (n, 4).

    Returns
    -------
    Lattice
        Or the reason why there is none, in words.
    """
    row, col, x, y = bins.T
    if np.linalg.matrix_rank(np.stack([row - row.mean(), col - col.mean()], axis=1)) < 2:
        return (
            "its bins under tissue are on one line, which does not determine the position of the lattice on the image"
        )
    place = x + 1j * y
    fits = []
    for mirrored in (False, True):
        # As complex numbers, turn and scale of a square lattice are one product.
        lattice = (-1 if mirrored else 1) * (col + 0.5) + 1j * (row + 0.5)
        centred = lattice - lattice.mean()
        step = complex(np.vdot(centred, place - place.mean()) / np.vdot(centred, centred).real)
        corner = complex(place.mean() - step * lattice.mean())
        flat = corner + step * lattice
        off = np.abs(flat - place)
        side, angle = abs(step), float(np.degrees(np.angle(step)))
        fit = Lattice(corner.real, corner.imag, side, angle, mirrored, float(off.mean()), float(off.max(initial=0)))
        fits.append((fit, flat))
    best, flat = min(fits, key=lambda pair: pair[0].mean_off_px)
    # Registration may bend a true lattice by a fraction of a percent; anything else has its columns mixed up.
    extent = best.side_px * float(np.hypot(np.ptp(row), np.ptp(col)))
    if not best.side_px > 0 or best.most_off_px > 0.01 * extent + 0.01 * best.side_px:
        return (
            "pxl_row_in_fullres and pxl_col_in_fullres do not follow array_row and array_col on a square lattice "
            f"(off by up to {best.most_off_px:.1f} px). The columns may be mixed up, or the file may be of another run"
        )
    return _with_perspective(best, np.stack([flat.real, flat.imag], axis=1), bins[:, 2:])


def _with_perspective(lattice: Lattice, flat: Floats, stated: Floats) -> Lattice:
    """Add the perspective that brings the lattice's positions to the stated ones, if the fit is far better with it."""
    if len(flat) < _FEW or lattice.mean_off_px <= _ROUNDING * lattice.side_px:
        return lattice
    # Least squares of u (g a + h b + 1) = p a + q b + r and likewise for v, in units in which all numbers are near 1.
    centre, scale = flat.mean(axis=0), float(np.abs(flat - flat.mean(axis=0)).max())
    (a, b), (u, v) = ((flat - centre) / scale).T, ((stated - centre) / scale).T
    ones, zeros = np.ones_like(a), np.zeros_like(a)
    along = np.stack([a, b, ones, zeros, zeros, zeros, -u * a, -u * b], axis=1)
    across = np.stack([zeros, zeros, zeros, a, b, ones, -v * a, -v * b], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(np.concatenate([along, across]), np.concatenate([u, v]), rcond=1e-9)
    if rank < 8:
        return lattice
    to_unit = np.array([[1 / scale, 0, -centre[0] / scale], [0, 1 / scale, -centre[1] / scale], [0, 0, 1]])
    matrix = np.linalg.inv(to_unit) @ np.append(solution, 1.0).reshape(3, 3) @ to_unit
    off = np.hypot(*(projected(flat, matrix) - stated).T)
    if not off.mean() <= _BETTER * lattice.mean_off_px:
        return lattice
    return replace(lattice, mean_off_px=float(off.mean()), most_off_px=float(off.max()), perspective=matrix)
