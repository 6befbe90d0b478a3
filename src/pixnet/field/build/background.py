"""Which pixels of a field are computed: tissue and a margin around it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.errors import FieldError
from pixnet.grid import Box, Lattice
from pixnet.slide import Slide
from pixnet.slide.tissue import tissue_pixels

_THUMBNAIL_UM = 16.0  # largest pixel of the thumbnail in which tissue is found
_GAP_UM = 64.0  # gaps up to twice this wide, such as fat or a tear, belong to the tissue around them
_MARGIN_UM = 32.0  # computed around the tissue, so that its edge is never lost


class Background:
    """The background of a slide, found in a thumbnail of it; with `keep_all`, everything is tissue.

    It depends on the slide and the lattice alone, so it does not depend on how the field is cut into blocks. `finest`
    is the side of a pixel of the field, in lattice pixels.
    """

    def __init__(self, slide: Slide, lattice: Lattice, finest: int, *, keep_all: bool = False) -> None:
        # The share of each row and of each column of field pixels that is on the slide.
        self._share_on_slide = [
            np.clip(extent_um / (lattice.mpp * finest) - np.arange(count), 0.0, 1.0)
            for extent_um, count in zip((lattice.height_um, lattice.width_um), lattice.grid(finest).shape, strict=True)
        ]
        self._tissue: NDArray[np.bool_] | None = None
        if keep_all:
            return
        # A thumbnail pixel consists of complete field pixels, and a stride of complete thumbnail pixels.
        pitch_um, per_stride = lattice.mpp * finest, lattice.stride // finest
        largest_um = max(_THUMBNAIL_UM, pitch_um)
        self._factor = max(n for n in range(1, per_stride + 1) if per_stride % n == 0 and n * pitch_um <= largest_um)
        pixel_um = self._factor * pitch_um
        grid = lattice.grid(finest * self._factor)
        rgb, self._data = slide.read_box(Box(0, 0, grid.height, grid.width), pixel_um)
        _complete_edge(self._data, lattice.height_um / pixel_um)
        _complete_edge(self._data.T, lattice.width_um / pixel_um)
        # Tissue is found on the slide alone: how far the lattice extends beyond it depends on the network.
        on_slide = tuple(slice(math.ceil(um / pixel_um - 1e-6)) for um in (lattice.height_um, lattice.width_um))
        tissue = tissue_pixels(rgb[on_slide])[0] & self._data[on_slide]
        if not self._data.any():
            raise FieldError(f"{slide.path or slide.name} holds no valid pixel, so it has no field. Check the file.")
        if not tissue.any():
            raise FieldError(
                f"{slide.path or slide.name} shows no tissue. If there is some (a very pale stain), predict with "
                "`tissue_mask=False`."
            )
        grown = ndimage.binary_dilation(tissue, _disk((_GAP_UM + _MARGIN_UM) / pixel_um))
        self._tissue = np.zeros_like(self._data)
        self._tissue[on_slide] = ndimage.binary_erosion(grown, _disk(_GAP_UM / pixel_um), border_value=1)

    def tissue(self, box: Box) -> NDArray[np.bool_]:
        """Return which pixels (height, width) of a box of the field, aligned with the stride, are tissue."""
        if self._tissue is None:
            return np.ones((box.height, box.width), bool)
        return self._cut(self._tissue, box)

    def share(self, box: Box) -> NDArray[np.float32]:
        """Return the share of each pixel of a box that holds data but no tissue, shape (height, width), 0 to 1."""
        if self._tissue is None:
            return np.zeros((box.height, box.width), np.float32)
        down, across = self._share_on_slide
        rows, cols = box.window
        on_slide = np.outer(down[rows], across[cols])
        glass = self._cut(self._data & ~self._tissue, box)
        return np.where(glass, on_slide, 0.0).astype(np.float32)

    def _cut(self, thumbnail: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
        """Return a box of field pixels from the thumbnail."""
        n = self._factor
        rows, cols = (slice(part.start // n, part.stop // n) for part in box.window)
        return thumbnail[rows, cols].repeat(n, axis=0).repeat(n, axis=1)


def _complete_edge(data: NDArray[np.bool_], rows: float) -> None:
    """If less than half of the last row of pixels is on the slide, let it hold data where the row before does."""
    last = int(np.ceil(rows - 1e-6)) - 1
    if last > 0 and rows - last < 0.5:
        data[last] = data[last - 1]


def _disk(radius: float) -> NDArray[np.bool_]:
    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(x**2 + y**2 <= radius**2)
