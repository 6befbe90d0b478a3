"""The lattice that regions lie on: squares from nothing but their centres, and the pitch of an array."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import spatial

from pixnet.errors import DataError
from pixnet.regions import Polygons, Squares

_AGREES = 0.05  # by which a lattice's pitch may differ from the side that is expected
_OFF = 0.02  # of a side: how far a centre may lie from its place
_NEAR = 0.3  # of the nearest distance: what else counts as a neighbour


def fit_squares(centers_um: NDArray[np.float64], side_um: float | None = None) -> Squares | None:
    """Find the lattice, upright or turned, whose squares tile the plane around given centres.

    Parameters
    ----------
    centers_um
        (n, 2) x and y of the centres, in um.
    side_um
        Expected side; None takes the distance to the nearest neighbour.

    Returns
    -------
    Squares
        One for each centre, in their order; the side is that of the lattice. None if there is no such lattice.
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
    """Give squares of one side around centres: those of a lattice where they tile one, else upright boxes.

    Parameters
    ----------
    centers_um
        (n, 2) x and y, in um.
    side_um
        Side, in um.

    Raises
    ------
    DataError
        If the side is not positive or a centre is not finite.
    """
    if not (np.isfinite(side_um) and side_um > 0 and np.isfinite(centers_um).all()):
        raise DataError(f"squares need a positive side in um, not {side_um!r}, and centres that are finite")
    found = fit_squares(centers_um, side_um)
    if found is not None:
        return found
    low, high = (centers_um - side_um / 2).T, (centers_um + side_um / 2).T
    return Polygons(list(shapely.box(*low, *high)))


def pitch(points: NDArray[np.float64]) -> float | None:
    """Measure the distance between neighbours of an array, square or hexagonal.

    Parameters
    ----------
    points
        (n, 2) places, in any unit.

    Returns
    -------
    float
        In that unit; None if there are too few.
    """
    steps = _neighbour_steps(points, None)
    # The mean over all neighbours: the nearest of several is nearer than the pitch where spots are a little off.
    return None if steps is None or len(points) < 10 else float(np.abs(steps).mean())


def pitch_in_pixels(array: NDArray[np.float64], pixels: NDArray[np.float64]) -> tuple[float, float] | str:
    """Measure how many pixels lie between neighbours of an array, along each of its axes.

    Least squares of the pixels against the array's coordinates, any rotation and shift included; done again without
    the spots that lie over a quarter of the pitch off.

    Parameters
    ----------
    array, pixels
        (n, 2) places in the array and in the image.

    Returns
    -------
    x, y
        Pitch along either axis in pixels; or, in words, why there is none.
    """
    use = np.ones(len(array), bool)
    scale, off = np.zeros(2), np.zeros(len(array))
    for _ in range(2):
        design = np.column_stack([array[use], np.ones(use.sum())])
        if use.sum() < 3 or np.linalg.matrix_rank(design - [*array[use].mean(axis=0), 0]) < 3:
            return "the spots lie on one line"
        fit = np.linalg.lstsq(design, pixels[use], rcond=None)[0]
        scale = np.hypot(fit[:2, 0], fit[:2, 1])
        off = np.hypot(*(np.column_stack([array, np.ones(len(array))]) @ fit - pixels).T)
        use = off <= 0.25 * scale.max()
    if scale.min() <= 0 or np.median(off) > 0.25 * scale.max():
        return "the pixel positions do not follow the spots' places in the array"
    if abs(fit[0] @ fit[1]) > 0.05 * scale[0] * scale[1]:
        return "the two axes of the array are not at right angles in the image"
    return float(scale[0]), float(scale[1])


def _neighbour_steps(points: NDArray[np.float64], expected: float | None) -> NDArray[np.complex128] | None:
    """Give the steps between points and their neighbours in all directions, as complex numbers."""
    if len(points) < 2:
        return None
    found = spatial.cKDTree(points).query(points, k=min(7, len(points)))
    far, index = np.asarray(found[0], np.float64), np.asarray(found[1], np.int64)
    nearest = float(np.median(far[:, 1])) if expected is None else expected
    near = np.abs(far - nearest) <= (_NEAR if expected is None else _AGREES) * nearest
    near[:, 0] = False
    if not (nearest > 0 and near.any()):
        return None
    steps = points[index[near]] - points[np.nonzero(near)[0]]
    return np.asarray(steps[:, 0] + 1j * steps[:, 1], np.complex128)
