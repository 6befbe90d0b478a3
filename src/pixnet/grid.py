"""Positions of the pixels of a map and of the tiles of a slide.

There are two frames, which are never mixed. A `Grid` is in um, in the frame of the slide (origin: its top-left
corner). A `Lattice` counts pixels at the model's working resolution from the same origin. So every tile of a slide,
whatever its size, sees the same pixels at the same phase of every stride.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A regular grid of square pixels, in row-major order.

    Parameters
    ----------
    x_um, y_um
        Top-left corner of pixel (0, 0), in um.
    pitch_um
        Side of a pixel, in um.
    height, width
        Number of rows and of columns.
    """

    x_um: float
    y_um: float
    pitch_um: float
    height: int
    width: int

    def __post_init__(self) -> None:
        if not (self.pitch_um > 0 and math.isfinite(self.pitch_um)):
            raise ValueError(f"a grid needs a positive pitch in um, not {self.pitch_um}")
        if self.height < 0 or self.width < 0:
            raise ValueError(f"a grid cannot have {self.height} x {self.width} pixels")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return self.height, self.width

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def pixel_area_um2(self) -> float:
        """Area of one pixel, in um^2."""
        return self.pitch_um**2

    @property
    def bounds_um(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge, in um."""
        right = self.x_um + self.width * self.pitch_um
        bottom = self.y_um + self.height * self.pitch_um
        return self.x_um, self.y_um, right, bottom

    def boxes(self, side: int) -> Iterator[Box]:
        """Yield boxes of `side` x `side` pixels that cover the grid, row by row; the last ones may be smaller."""
        for row in range(0, self.height, side):
            for col in range(0, self.width, side):
                yield Box(row, col, min(side, self.height - row), min(side, self.width - col))

    def crop(self, row: int, col: int, height: int, width: int) -> Grid:
        """Return the part of this grid that starts at pixel (row, col), with the same pitch and phase."""
        x_um = self.x_um + col * self.pitch_um
        y_um = self.y_um + row * self.pitch_um
        return Grid(x_um, y_um, self.pitch_um, height, width)


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: rows `row` to `row + height`, columns `col` to `col + width`."""

    row: int
    col: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns, as an index of an array."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    def grown(self, margin: int) -> Box:
        """Return the box with `margin` more pixels on each side."""
        return Box(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)


@dataclass(frozen=True)
class Lattice:
    """All pixels of a slide at a working resolution, to be cut into tiles.

    A tile is a core, whose result is written. The network sees the core and a halo around it. The halo is wide enough
    that the result does not depend on where the tile was cut. Core and halo are multiples of the deepest stride, so
    every tile has the phase of the slide's origin. The network may also see a wider surrounding of the core on a
    lattice that is `zoom` times coarser and has the same origin.

    Parameters
    ----------
    width_um, height_um
        Size of the slide, in um.
    mpp
        Working resolution, in um per pixel.
    stride
        Deepest stride of the network, in pixels.
    halo
        Number of pixels around a core that can influence it; rounded up to a multiple of `stride`.
    zoom
        Number of pixels along the side of a pixel of the coarser lattice; divides the stride.
    far_halo
        Number of pixels of the coarser lattice around a core that can influence it; 0 if the network does not see that
        lattice.
    """

    width_um: float
    height_um: float
    mpp: float
    stride: int
    halo: int
    zoom: int = 1
    far_halo: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "halo", round_up(self.halo, self.stride))

    @property
    def height(self) -> int:
        """Number of rows of pixels: the multiple of the stride that covers the slide."""
        # A slide that extends a row by less than a millionth of a pixel does not get another row.
        return round_up(math.ceil(self.height_um / self.mpp - 1e-6), self.stride)

    @property
    def width(self) -> int:
        """Number of columns of pixels: the multiple of the stride that covers the slide."""
        return round_up(math.ceil(self.width_um / self.mpp - 1e-6), self.stride)

    @property
    def far_mpp(self) -> float:
        """Resolution of the coarser lattice, in um per pixel."""
        return self.mpp * self.zoom

    def far(self, core: Box) -> Box:
        """Return the box of the coarser lattice that covers the core and the far halo around it."""
        zoom = self.zoom
        return Box(core.row // zoom, core.col // zoom, core.height // zoom, core.width // zoom).grown(self.far_halo)

    def grid(self, stride: int) -> Grid:
        """Return the grid whose pixels cover `stride` x `stride` pixels of the lattice each."""
        return Grid(0.0, 0.0, self.mpp * stride, self.height // stride, self.width // stride)

    def tiles(self, core: int) -> Iterator[Box]:
        """Yield tiles of `core` x `core` pixels that cover the lattice, row by row; the last ones may be smaller."""
        if core <= 0 or core % self.stride:
            raise ValueError(f"the side of a tile must be a positive multiple of {self.stride} pixels, not {core}")
        yield from self.grid(1).boxes(core)


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `value`."""
    return -(-value // multiple) * multiple
