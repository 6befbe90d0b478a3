"""The lattice of regions: squares from their centres alone, and the pitch of an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import spatial

from pixnet.errors import DataError
from pixnet.regions import Polygons, Squares

_AGREES = 0.05  # by which a lattice's pitch may differ from the side that is expected
_OFF = 0.02  # of a side: by how much a centre may be away from its place
_AXES_AGREE = 0.02  # by which the pitch may differ between the axes
_NEAR = 0.3  # of the nearest distance: by how much another neighbour may differ from it

HALF_SPOTS = np.array([0.5, np.sqrt(0.75)])
"""Spots by a column and by a row of Visium's hexagonal array: the columns of every other row are in between."""


def fit_squares(centers_um: NDArray[np.float64], side_um: float | None = None) -> Squares | None:
    """Find the lattice, upright or turned, whose squares tile the plane around centres in um, shape (n, 2).

    The squares are in the order of the centres, and as large as the lattice's pitch, which must agree with `side_um` if
    that is given. Returns None if there is no such lattice.
    """
    place = centers_um[:, 0] + 1j * centers_um[:, 1]
    steps = _neighbour_steps(centers_um, side_um)
    if steps is None:
        return None
    # The fourth power is the same for the four neighbours of a square.
    turn = np.exp(1j * np.angle(np.mean((steps / np.abs(steps)) ** 4)) / 4)
    upright = steps / turn
    step = complex(np.mean(upright / 1j ** np.rint(np.angle(upright) / (np.pi / 2))) * turn)
    for _ in range(3):
        index = (place - place[0]) / step
        index = np.rint(index.real) + 1j * np.rint(index.imag)
        centred = index - index.mean()
        spread = np.vdot(centred, centred).real
        if not spread > 0:
            return None
        step = complex(np.vdot(centred, place - place.mean()) / spread)
    side, angle = abs(step), float(np.angle(step))
    off = np.abs(place.mean() + step * centred - place).max()
    if not off <= _OFF * side or len(np.unique(index)) < len(index):
        return None
    if side_um is not None and abs(side - side_um) > _AGREES * side_um:
        return None
    if abs(angle) * side * np.abs(centred).max() < 1e-4:  # um: upright but for rounding
        angle, step = 0.0, complex(side)
    cols, rows = (part.astype(np.int64) for part in (index.real - index.real.min(), index.imag - index.imag.min()))
    first = place.mean() - step * (cols.mean() + 1j * rows.mean())
    corner = first - step * (0.5 + 0.5j)
    return Squares(corner.real, corner.imag, side, rows, cols, float(np.degrees(angle)))


def squares_around(centers_um: NDArray[np.float64], side_um: float) -> Squares | Polygons:
    """Return squares of one size in um around centres in um, shape (n, 2): of a lattice, or else upright boxes."""
    if not (np.isfinite(side_um) and side_um > 0 and np.isfinite(centers_um).all()):
        raise DataError(f"squares need a positive side in um, not {side_um!r}, and centres that are finite")
    squares = fit_squares(centers_um, side_um)
    if squares is not None:
        return squares
    low, high = (centers_um - side_um / 2).T, (centers_um + side_um / 2).T
    return Polygons(list(shapely.box(*low, *high)))


def pitch(points: NDArray[np.float64]) -> float | None:
    """Return the distance of neighbours in a square or hexagonal array, shape (n, 2); None if there are too few."""
    steps = _neighbour_steps(points, None)
    # The mean over all neighbours: the nearest of several is nearer than the pitch if spots are a little off.
    return None if steps is None or len(points) < 10 else float(np.abs(steps).mean())


def pitch_in_pixels(array: NDArray[np.float64], pixels: NDArray[np.float64]) -> tuple[float, float] | str:
    """Return the distances in pixels between neighbours along both axes of an array, or why there are none.

    `array` and `pixels`, shape (n, 2) each, are the places in the array and in the image. Least squares of the pixels
    against the array's coordinates, with any rotation and shift; repeated without the spots that are off by over a
    quarter of the pitch.
    """
    use = np.ones(len(array), bool)
    scale, off = np.zeros(2), np.zeros(len(array))
    for _ in range(2):
        design = np.column_stack([array[use], np.ones(use.sum())])
        if use.sum() < 3 or np.linalg.matrix_rank(design - [*array[use].mean(axis=0), 0]) < 3:
            return "the spots are on one line"
        fit = np.linalg.lstsq(design, pixels[use], rcond=None)[0]
        scale = np.hypot(fit[:2, 0], fit[:2, 1])
        off = np.hypot(*(np.column_stack([array, np.ones(len(array))]) @ fit - pixels).T)
        use = off <= 0.25 * scale.max()
    if scale.min() <= 0 or np.median(off) > 0.25 * scale.max():
        return "the pixel positions do not follow the spots' places in the array"
    if abs(fit[0] @ fit[1]) > 0.05 * scale[0] * scale[1]:
        return "the two axes of the array are not at right angles in the image"
    return float(scale[0]), float(scale[1])


def square_pitch(path: Path, pitch: tuple[float, float]) -> float:
    """Return the pitch of an array whose spots must be equally far apart along both axes, within 2 %."""
    x, y = pitch
    if abs(x - y) > _AXES_AGREE * max(x, y):
        raise DataError(
            f"{path}: neighbouring spots are {x:.1f} pixels apart along x and {y:.1f} along y, but must be equally far "
            "apart. The positions may belong to an image that was stretched, or the columns may be mixed up."
        )
    return float(np.sqrt(x * y))


def hexagonal_pitch(array: NDArray[np.float64], pixels: NDArray[np.float64]) -> float | None:
    """Return the pitch in pixels by the columns and rows, shape (n, 2), of spots of Visium; None if there are too few.

    Columns count half spots. Of a few scattered spots the nearest one is not a neighbour, so that `pitch` would not do.
    """
    along = pitch_in_pixels(array * HALF_SPOTS, pixels)
    return pitch(pixels) if isinstance(along, str) else float(np.sqrt(along[0] * along[1]))


def _neighbour_steps(points: NDArray[np.float64], expected: float | None) -> NDArray[np.complex128] | None:
    """Return the steps between points and their neighbours in all directions, as complex numbers."""
    if len(points) < 2:
        return None
    neighbours = spatial.cKDTree(points).query(points, k=min(7, len(points)))
    distance, index = np.asarray(neighbours[0], np.float64), np.asarray(neighbours[1], np.int64)
    nearest = float(np.median(distance[:, 1])) if expected is None else expected
    near = np.abs(distance - nearest) <= (_NEAR if expected is None else _AGREES) * nearest
    near[:, 0] = False
    if not (nearest > 0 and near.any()):
        return None
    steps = points[index[near]] - points[np.nonzero(near)[0]]
    return np.asarray(steps[:, 0] + 1j * steps[:, 1], np.complex128)
