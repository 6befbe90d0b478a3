"""The images that the network needs for a tile."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.grid import Box, Lattice
from pixnet.slide import Slide


class TileImages(NamedTuple):
    """The images of one tile."""

    near: NDArray[np.uint8]  # the core with the lattice's halo, shape (H, W, 3)
    far: NDArray[np.uint8] | None  # the same on the coarser lattice, (h, w, 3); None without surroundings
    core: Box  # in lattice pixels


def read_tile(slide: Slide, lattice: Lattice, core: Box) -> tuple[TileImages, NDArray[np.bool_]]:
    """Read the images of a tile, whose core is in lattice pixels, and which pixels (H, W) of the near one hold data."""
    near, mask = slide.read_box(core.grown(lattice.halo), lattice.mpp)
    far = slide.read_box(lattice.far(core), lattice.far_mpp)[0] if lattice.far_halo else None
    return TileImages(near, far, core), mask
