"""An image that is not the one a platform's positions were written for: a slide that was scanned or registered again.

Positions are transformed onto the given image when they are read, so that everything that follows from them (the pixel
size from the pitch, the turn of a lattice) is that of the given image. Sizes in um stay those of the platform.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pixnet.errors import DataError
from pixnet.readers.formats.affine import Floats, moved, read_affine

GivenTransform = str | Path | ArrayLike | None
"""A CSV file of, or array with, a 3 x 3 matrix; None if the given image is the platform's own."""

_AXES_AGREE = 0.02  # by which a matrix may stretch one direction more than another
_PER_PIXEL = ("microns_per_pixel",)
_IN_PIXELS = ("spot_diameter_fullres", "fiducial_diameter_fullres")


@dataclass(frozen=True)
class ImageTransform:
    """The transformation from pixels of the image that a platform was registered to, to pixels of the given image.

    Attributes
    ----------
    matrix
        (3, 3) matrix for column vectors (x, y, 1); None if the images are the same.
    """

    matrix: Floats | None = None

    @classmethod
    def read(cls, given: GivenTransform) -> ImageTransform:
        """Read a matrix that turns, scales and shifts, such as the result of a registration.

        Raises
        ------
        DataError
            If the matrix is not of that kind: not 3 x 3, with perspective, singular, mirrored or sheared.
        """
        if given is None:
            return cls()
        what = "from pixels of the image that the positions were written for to pixels of the given image"
        origin = str(given) if isinstance(given, str | Path) else "image_transform"
        matrix = read_affine(given, origin, what)
        linear = matrix[:2, :2]
        if np.linalg.det(linear) < 0:
            raise DataError(
                f"{origin}: mirrors the image. Flip the image instead, and give the matrix to the flipped image."
            )
        scale = np.linalg.svd(linear)[1]
        if scale[0] - scale[1] > _AXES_AGREE * scale[1]:
            raise DataError(
                f"{origin}: stretches one direction {scale[0] / scale[1]:.3g} times as much as another, so pixels "
                "would not be square. Give a matrix that only turns, scales and shifts."
            )
        return cls(matrix)

    @property
    def scale(self) -> float:
        """Number of pixels of the given image along a pixel of the other."""
        return 1.0 if self.matrix is None else math.sqrt(np.linalg.det(self.matrix[:2, :2]))

    def points(self, xy: Floats) -> Floats:
        """Return pixel positions, x first, shape (n, 2), on the given image."""
        return xy if self.matrix is None else moved(xy, self.matrix)

    def factors(self, factors: Mapping[str, Any]) -> dict[str, Any]:
        """Return Space Ranger's scale factors for the given image; those of its own pictures no longer hold."""
        if self.matrix is None:
            return dict(factors)
        scaled = {name: value for name, value in factors.items() if not name.startswith("tissue_")}
        scaled |= {name: factors[name] / self.scale for name in _PER_PIXEL if name in factors}
        return scaled | {name: factors[name] * self.scale for name in _IN_PIXELS if name in factors}
