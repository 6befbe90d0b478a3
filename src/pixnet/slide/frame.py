"""Frames: the rectangles of pixels that positions on a slide are counted in.

All positions in um are counted from the top-left corner of the *canvas*, the complete picture that a file describes. A
scanner may have scanned a part of it only, the *bounds*, and some programs, such as QuPath, show and count that part
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PixelBounds = tuple[int, int, int, int]
"""Left and top edge, width and height of a part of the canvas, in its full-resolution pixels."""


@dataclass(frozen=True)
class Frame:
    """A rectangle of square pixels on a slide.

    Parameters
    ----------
    name
        What the frame is: "canvas" or "bounds".
    mpp
        um per pixel.
    width_px, height_px
        Size in pixels.
    x_um, y_um
        Place of its top-left corner on the canvas, in um.
    """

    name: str
    mpp: float
    width_px: int
    height_px: int
    x_um: float = 0.0
    y_um: float = 0.0

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height in um."""
        return self.width_px * self.mpp, self.height_px * self.mpp

    def to_um(self, xy_px: Floats) -> Floats:
        """Return positions in pixels of the frame, x first, shape (n, 2), in um of the canvas."""
        return np.asarray(xy_px * self.mpp + [self.x_um, self.y_um])

    def to_pixels(self, xy_um: Floats) -> Floats:
        """Return positions in um of the canvas, x first, shape (n, 2), in pixels of the frame."""
        return np.asarray((xy_um - [self.x_um, self.y_um]) / self.mpp)

    def holds(self, xy_um: Floats) -> NDArray[np.bool_]:
        """Return whether positions in um of the canvas, shape (n, 2), are inside the frame, shape (n,)."""
        xy_px = self.to_pixels(xy_um)
        return np.asarray(((xy_px >= 0) & (xy_px <= [self.width_px, self.height_px])).all(axis=1), np.bool_)


@dataclass(frozen=True)
class Frames:
    """The frames of a slide: its canvas, and the bounds of the scanned part if its file states them."""

    canvas: Frame
    bounds: Frame | None = None

    @classmethod
    def of(cls, mpp: float, shape: tuple[int, int], bounds: PixelBounds | None = None) -> Self:
        """Make the frames of a slide of `shape` (height, width) in pixels."""
        canvas = Frame("canvas", mpp, shape[1], shape[0])
        if bounds is None:
            return cls(canvas)
        left, top, width, height = bounds
        return cls(canvas, Frame("bounds", mpp, width, height, left * mpp, top * mpp))

    @property
    def qupath(self) -> Frame:
        """The frame that QuPath shows and counts pixels in."""
        return self.bounds or self.canvas
