"""Affine maps of the plane as 3 x 3 matrices, and the files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import DataError, first_line

Floats = NDArray[np.float64]

_LONGEST_FILE = 1 << 16  # bytes


def read_affine(given: str | Path | ArrayLike, name: str, what: str) -> Floats:
    """Read a 3 x 3 affine matrix.

    Parameters
    ----------
    given
        A CSV file of three rows, or the matrix itself.
    name
        Name of the matrix in messages, unless it is a file.
    what
        What it maps, for messages: "from pixels of ... to pixels of ...".

    Returns
    -------
    ndarray
        Shape (3, 3), for column vectors (x, y, 1); its last row is 0, 0, 1.

    Raises
    ------
    DataError
        If the file cannot be read, or does not hold such a matrix, or the matrix is singular.
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
