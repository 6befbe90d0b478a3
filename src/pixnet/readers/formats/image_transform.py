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
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import DataError, first_line

Floats = NDArray[np.float64]
GivenTransform = str | Path | ArrayLike | None
"""A CSV file of, or array with, a 3 x 3 matrix; None if the given image is the platform's own."""

_LONGEST_FILE = 1 << 16  # bytes
_AXES_AGREE = 0.02  # by which a matrix may stretch one direction more than another
_PER_PIXEL = ("microns_per_pixel",)
_IN_PIXELS = ("spot_diameter_fullres", "fiducial_diameter_fullres")


@dataclass(frozen=True)
class ImageTransform:
    """The (3, 3) matrix from pixels of the image that a platform was registered to, to pixels of the given image.

    It is for column vectors (x, y, 1); None if the two images are the same.
    """

    matrix: Floats | None = None

    @classmethod
    def read(cls, given: GivenTransform) -> ImageTransform:
        """Read a matrix that turns, scales and shifts, such as the result of a registration; others are errors."""
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


def read_affine(given: str | Path | ArrayLike, name: str, what: str) -> Floats:
    """Return a 3 x 3 affine matrix for column vectors (x, y, 1), given itself or as a CSV file of three rows.

    Messages call it by its file, or else by `name`, and add what it maps: "from pixels of ... to pixels of ...".
    """
    is_file = isinstance(given, str | Path)
    origin = str(given) if isinstance(given, str | Path) else name
    try:
        content: Any = _entries_of(Path(str(given))) if is_file else given
        matrix = np.array(content, dtype=np.float64)
    except OSError as error:
        raise DataError(
            f"{origin}: cannot be read ({error.strerror or error}). Give the path of a CSV file."
        ) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{origin}: is not a matrix of numbers ({first_line(error)}).") from error
    affine = matrix.shape == (3, 3) and np.isfinite(matrix).all() and np.allclose(matrix[2], (0, 0, 1), atol=1e-9)
    scale = np.linalg.svd(matrix[:2, :2])[1] if affine else np.zeros(2)
    if not (scale.min() > 1e-6 and scale.max() < 1e6 and np.abs(matrix[:2, 2]).max() < 1e12):
        raise DataError(
            f"{origin}: must hold a 3 x 3 affine matrix {what}, its last row 0, 0, 1. "
            f"Found {matrix.shape}: {str(matrix.tolist())[:120]}."
        )
    return matrix


def holds_affine(path: Path) -> bool:
    """Return whether a file is a 3 x 3 affine matrix."""
    try:
        read_affine(path, str(path), "")
    except DataError:
        return False
    return True


def moved(xy: Floats, matrix: Floats) -> Floats:
    """Return points, shape (n, 2), transformed by a 3 x 3 affine matrix."""
    with np.errstate(over="ignore", invalid="ignore"):
        result: Floats = xy @ matrix[:2, :2].T + matrix[:2, 2]
    return result


def _entries_of(path: Path) -> list[list[str]]:
    if path.stat().st_size > _LONGEST_FILE:
        raise ValueError("the file is too long for nine numbers")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [line.split(",") for line in lines if line.strip(", \t")]
