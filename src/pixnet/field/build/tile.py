"""The images that the network needs for a tile."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.grid import Box, Lattice
from pixnet.slide import Slide


class TileImages(NamedTuple):
    """The images of one tile.

    Attributes
    ----------
    near
        The core with the lattice's halo, shape (H, W, 3).
    far
        The same on the coarser lattice with its own halo, shape (h, w, 3); None for a network without surroundings.
    """

    near: NDArray[np.uint8]
    far: NDArray[np.uint8] | None


def read_tile(slide: Slide, lattice: Lattice, core: Box) -> tuple[TileImages, NDArray[np.bool_]]:
    """Read the images of a tile.

    Parameters
    ----------
    slide
        The slide.
    lattice
        Its lattice of pixels.
    core
        The core of the tile, in lattice pixels.

    Returns
    -------
    images
        The images.
    mask
        Which pixels of the near image hold data, shape (H, W).
    """
    near, mask = slide.read_box(core.grown(lattice.halo), lattice.mpp)
    far = slide.read_box(lattice.far(core), lattice.far_mpp)[0] if lattice.far_halo else None
    return TileImages(near, far), mask
