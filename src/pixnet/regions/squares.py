"""Squares of a lattice as regions. Each is stored as two integers, so that millions of them need little memory."""

from __future__ import annotations

import itertools
import math
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.grid import Grid
from pixnet.regions.base import Regions, finite_array, finite_number, positive_number, whole_numbers
from pixnet.regions.coverage import Floats, Ints, square_coverage
from pixnet.regions.coverage_edges import lattice_points, projected, tilted_square_coverage

_LARGEST_BEND = 0.1
_AT_ONCE = 1 << 20  # turned squares that are made at once


class Squares(Regions):
    """Squares of a regular lattice, such as the bins of a binned platform, upright or rotated.

    Square (r, c) has its corner at the lattice's corner + R @ (c * side, r * side), where R rotates from x towards y
    by `angle_deg`. Only r and c are stored for each square.

    Where the slide was registered with a perspective, one projective map is applied to the complete lattice. Its
    squares are then quadrilaterals of nearly the same side, which still share their edges.

    Parameters
    ----------
    x_um, y_um
        Corner of the lattice, in um.
    side_um
        Side of a square and pitch of the lattice, in um.
    rows, cols
        Row and column of each square in the lattice: integers, each (n,).
    angle_deg
        Rotation of the lattice, in degrees.
    perspective
        Projective matrix from um of the lattice to um of the slide, for column vectors (x, y, 1), shape (3, 3). It must
        be slight: it may not rotate or stretch the lattice by more than a tenth anywhere.

    Raises
    ------
    DataError
        If a number is not finite, the side is not positive, `rows` and `cols` do not hold one pair of integers for each
        square, or the perspective is not slight.
    """

    _per_region = ("rows", "cols")

    def __init__(
        self,
        x_um: float,
        y_um: float,
        side_um: float,
        rows: ArrayLike,
        cols: ArrayLike,
        angle_deg: float = 0.0,
        perspective: ArrayLike | None = None,
    ) -> None:
        self.x_um = finite_number("x_um", x_um)
        self.y_um = finite_number("y_um", y_um)
        self.side_um = positive_number("side_um", side_um)
        self.angle_deg = finite_number("angle_deg", angle_deg)
        self.rows = whole_numbers("rows", rows)
        self.cols = whole_numbers("cols", cols)
        if self.rows.ndim != 1 or self.rows.shape != self.cols.shape:
            raise DataError(
                f"rows and cols must hold one pair for each square, but have shapes {self.rows.shape} and "
                f"{self.cols.shape}"
            )
        self.perspective = None if perspective is None else self._slight(perspective)

    def _slight(self, perspective: ArrayLike) -> Floats:
        """Return a perspective as a matrix; raise DataError if it bends the lattice at the corners of all squares."""
        matrix = finite_array("perspective", perspective)
        if matrix.shape != (3, 3):
            raise DataError(f"perspective must be a (3, 3) matrix, not {matrix.shape}")
        ends = [(side.min(initial=0), side.max(initial=0) + 1) for side in (self.rows, self.cols)]
        row, col = np.array(list(itertools.product(*ends))).T
        corners = lattice_points(self.x_um, self.y_um, self.side_um, self.angle_deg, row, col)
        depth = corners @ matrix[2, :2] + matrix[2, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = matrix[:2, :2] - projected(corners, matrix)[:, :, None] * matrix[2, :2]
            bend = np.abs(slope / depth[:, None, None] - np.eye(2)).max()
        if not (bend <= _LARGEST_BEND and (depth > 0).all()):
            raise DataError(
                f"the perspective bends the lattice by {bend:.2g}; it must be slight, at most {_LARGEST_BEND}"
            )
        return matrix

    def _points(self, row: NDArray[np.number], col: NDArray[np.number]) -> Floats:
        """Return the x and y in um, (n, 2), of positions of the lattice, which need not be whole numbers."""
        points = lattice_points(self.x_um, self.y_um, self.side_um, self.angle_deg, row, col)
        return points if self.perspective is None else projected(points, self.perspective)

    @classmethod
    def tiling(
        cls, left: float, top: float, right: float, bottom: float, side_um: float, angle_deg: float = 0.0
    ) -> Self:
        """Return the squares of a lattice that cover a rectangle, row by row; the outer ones may extend beyond it.

        Parameters
        ----------
        left, top, right, bottom
            Edges of the rectangle, in um. Its top-left corner is that of square (0, 0).
        side_um
            Side of a square, in um.
        angle_deg
            Rotation of the lattice about that corner, in degrees. Rotated squares may have negative rows and columns.

        Raises
        ------
        DataError
            If the rectangle is empty, a number is not finite, or the side is not positive.
        """
        left, top = finite_number("left", left), finite_number("top", top)
        width, height = finite_number("right", right) - left, finite_number("bottom", bottom) - top
        side, angle = positive_number("side_um", side_um), finite_number("angle_deg", angle_deg)
        if width <= 0 or height <= 0:
            raise DataError(
                f"a rectangle of {width:g} x {height:g} um has nothing to tile; give left < right and top < bottom"
            )
        # The positions of the rectangle's corners in the lattice.
        turn = math.radians(angle)
        x, y = np.array([0.0, width, 0.0, width]), np.array([0.0, 0.0, height, height])
        across = (math.cos(turn) * x + math.sin(turn) * y) / side
        down = (math.cos(turn) * y - math.sin(turn) * x) / side
        first_row, n_rows = _span(down)
        first_col, n_cols = _span(across)
        step = max(1, _AT_ONCE // n_cols) if angle else n_rows
        parts = []
        for start in range(0, n_rows, step):
            rows, cols = np.divmod(np.arange(start * n_cols, min(start + step, n_rows) * n_cols), n_cols)
            squares = cls(left, top, side, rows + first_row, cols + first_col, angle)
            parts.append(squares.take(squares._meet(left, top, width, height)) if angle else squares)
        if len(parts) == 1:
            return parts[0]
        rows, cols = (np.concatenate([getattr(part, name) for part in parts]) for name in cls._per_region)
        return cls(left, top, side, rows, cols, angle)

    def _meet(self, left: float, top: float, width: float, height: float) -> NDArray[np.bool_]:
        """Return whether each square of a lattice that covers a rectangle touches it, shape (n,)."""
        # Two rectangles are apart if they are apart along a side of one of them. The sides of the lattice were checked
        # by `_span`, those of the rectangle are checked here.
        low_x, low_y, high_x, high_y = self.bounds_um.T
        slack = 1e-6 * self.side_um
        meets = (high_x > left + slack) & (low_x < left + width - slack)
        return np.asarray(meets & (high_y > top + slack) & (low_y < top + height - slack))

    @property
    def centers_um(self) -> Floats:
        """Centres: x and y in um, shape (n, 2)."""
        return self._points(self.rows + 0.5, self.cols + 0.5)

    @property
    def corners_um(self) -> Floats:
        """Corners in order around each square: x and y in um, shape (n, 4, 2)."""
        around = ((0, 0), (0, 1), (1, 1), (1, 0))
        return np.stack([self._points(self.rows + down, self.cols + across) for down, across in around], axis=1)

    @property
    def areas_um2(self) -> Floats:
        """Areas in um^2, shape (n,)."""
        if self.perspective is None:
            return np.full(len(self), self.side_um**2)
        x, y = (self._points(self.rows + 1, self.cols + 1) - self._points(self.rows, self.cols)).T
        other_x, other_y = (self._points(self.rows + 1, self.cols) - self._points(self.rows, self.cols + 1)).T
        areas: Floats = np.abs(x * other_y - y * other_x) / 2
        return areas

    @property
    def bounds_um(self) -> Floats:
        """Left, top, right and bottom edges in um, shape (n, 4)."""
        if self.perspective is not None:
            low = high = self._points(self.rows, self.cols)
            for down, across in ((0, 1), (1, 0), (1, 1)):
                corner = self._points(self.rows + down, self.cols + across)
                low, high = np.minimum(low, corner), np.maximum(high, corner)
            return np.concatenate([low, high], axis=1)
        x_um, y_um, angle_deg, rows, cols = self._least_turn()
        bounds = np.empty((len(self), 4))
        # With a rotation of less than 90 degrees, each corner is the outermost one on one side.
        for side, (down, across) in enumerate(((1, 0), (0, 0), (0, 1), (1, 1))):
            corner = lattice_points(x_um, y_um, self.side_um, angle_deg, rows + down, cols + across)
            bounds[:, side] = corner[:, side % 2]
        return bounds

    def coverage(self, grid: Grid) -> sparse.csr_array[np.float64]:
        """Return the areas of the squares within the pixels of a grid in um^2; see `Regions.coverage`."""
        if self.perspective is None:
            x_um, y_um, angle_deg, rows, cols = self._least_turn()
            if angle_deg == 0:
                return square_coverage(x_um, y_um, self.side_um, rows, cols, grid)
        return tilted_square_coverage(self._points, self.side_um, self.rows, self.cols, grid)

    def _least_turn(self) -> tuple[float, float, float, Ints, Ints]:
        """Return corner, angle, rows and columns of the same squares; a rotation by 90 degrees only renumbers them."""
        quarters, angle_deg = divmod(self.angle_deg, 90.0)
        rows, cols = self.rows, self.cols
        for _ in range(int(quarters) % 4):
            rows, cols = cols, -rows - 1
        return self.x_um, self.y_um, angle_deg, rows, cols


def _span(positions: Floats) -> tuple[int, int]:
    """Return the first square and the number of squares that cover some positions along an axis of the lattice.

    Positions that reach into a further square by less than a millionth of it do not add that square.
    """
    first = math.floor(positions.min() + 1e-6)
    return first, max(math.ceil(positions.max() - 1e-6) - first, 1)
