"""Which cells of a field are worth computing: tissue, and a margin around it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.errors import FieldError
from pixnet.grid import Box, Lattice
from pixnet.slide import Slide
from pixnet.slide.tissue import tissue_pixels

_PIXEL_UM = 16.0  # of the picture that the tissue is told from, at most
_GAP_UM = 64.0  # gaps up to twice this wide, such as fat or a tear, belong to the tissue around them
_MARGIN_UM = 32.0  # computed around the tissue, so that its edge is never lost


class Background:
    """The background of a slide, told from a coarse picture of it.

    It depends on the slide and the lattice alone, so it is the same however the field is cut into blocks.

    Parameters
    ----------
    slide
        The slide.
    lattice
        Its lattice.
    finest
        Side of a field cell, in lattice pixels.
    keep_all
        Whether to take everything for tissue.

    Raises
    ------
    FieldError
        If there is no tissue on the slide.
    """

    def __init__(self, slide: Slide, lattice: Lattice, finest: int, *, keep_all: bool = False) -> None:
        self._share_inside = _share_inside(lattice, finest)
        self._tissue: NDArray[np.bool_] | None = None
        if keep_all:
            return
        # Whole cells in a pixel of the picture, and whole such pixels in a stride.
        pitch_um, cells = lattice.mpp * finest, lattice.stride // finest
        self._cells = max(n for n in range(1, cells + 1) if cells % n == 0 and n * pitch_um <= max(_PIXEL_UM, pitch_um))
        pixel_um = self._cells * pitch_um
        grid = lattice.grid(finest * self._cells)
        rgb, self._data = slide.read_box(Box(0, 0, grid.height, grid.width), pixel_um)
        _complete_edge(self._data, lattice.height_um / pixel_um)
        _complete_edge(self._data.T, lattice.width_um / pixel_um)
        # Tissue is told on the slide alone: the lattice reaches beyond it, by more for one network than for another.
        inside = tuple(slice(math.ceil(um / pixel_um - 1e-6)) for um in (lattice.height_um, lattice.width_um))
        tissue = tissue_pixels(rgb[inside])[0] & self._data[inside]
        if not self._data.any():
            raise FieldError(f"{slide.path or slide.name} holds no valid pixel, so it has no field. Check the file.")
        if not tissue.any():
            raise FieldError(
                f"{slide.path or slide.name} shows no tissue. If there is some (a very pale stain), "
                "predict without the tissue mask (--no-tissue-mask)."
            )
        grown = ndimage.binary_dilation(tissue, _disk((_GAP_UM + _MARGIN_UM) / pixel_um))
        self._tissue = np.zeros_like(self._data)
        self._tissue[inside] = ndimage.binary_erosion(grown, _disk(_GAP_UM / pixel_um), border_value=1)

    def tissue(self, row: int, col: int, height: int, width: int) -> NDArray[np.bool_]:
        """Say which cells of a box (in cells, aligned with the lattice's stride) are tissue, (height, width)."""
        if self._tissue is None:
            return np.ones((height, width), bool)
        return self._cut(self._tissue, row, col, height, width)

    def share(self, row: int, col: int, height: int, width: int) -> NDArray[np.float32]:
        """Give the share of each cell of a box that holds data but no tissue, (height, width) from 0 to 1."""
        if self._tissue is None:
            return np.zeros((height, width), np.float32)
        inside = np.outer(self._share_inside[0][row : row + height], self._share_inside[1][col : col + width])
        glass = self._cut(self._data & ~self._tissue, row, col, height, width)
        return np.where(glass, inside, 0.0).astype(np.float32)

    def _cut(self, picture: NDArray[np.bool_], row: int, col: int, height: int, width: int) -> NDArray[np.bool_]:
        n = self._cells
        part = picture[row // n : (row + height) // n, col // n : (col + width) // n]
        return part.repeat(n, axis=0).repeat(n, axis=1)


def _share_inside(lattice: Lattice, finest: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the share of each row and of each column of cells that lies on the slide."""
    grid = lattice.grid(finest)
    down, across = (
        np.clip(extent / grid.pitch_um - np.arange(count), 0.0, 1.0)
        for extent, count in ((lattice.height_um, grid.height), (lattice.width_um, grid.width))
    )
    return down, across


def _complete_edge(data: NDArray[np.bool_], rows: float) -> None:
    """Let a last row of pixels that lies on the slide by less than half hold data where the one before does."""
    last = int(np.ceil(rows - 1e-6)) - 1
    if last > 0 and rows - last < 0.5:
        data[last] = data[last - 1]


def _disk(radius: float) -> NDArray[np.bool_]:
    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(x**2 + y**2 <= radius**2)
