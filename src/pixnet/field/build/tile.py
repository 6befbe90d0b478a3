"""The images that the network needs for a tile."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.grid import Box, Lattice
from pixnet.slide import Slide


class TileImages(NamedTuple):
    """What is read of a slide for one tile.

    Attributes
    ----------
    near
        (H, W, 3): the core with the lattice's halo.
    far
        (h, w, 3): the same on the coarser lattice with its own halo; None where the network does not look at it.
    """

    near: NDArray[np.uint8]
    far: NDArray[np.uint8] | None


def read_tile(slide: Slide, lattice: Lattice, core: Box) -> tuple[TileImages, NDArray[np.bool_]]:
    """Read the images for a tile's core, and which pixels of the near one are valid, (H, W)."""
    near, mask = slide.read_box(core.grown(lattice.halo), lattice.mpp)
    far = slide.read_box(lattice.far(core), lattice.far_mpp)[0] if lattice.far_halo else None
    return TileImages(near, far), mask
