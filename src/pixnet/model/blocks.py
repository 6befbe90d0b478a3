"""The size of the blocks in which a slide is predicted, and the error at their seams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixnet.field.build.tile import TileImages, read_tile
from pixnet.grid import Box

if TYPE_CHECKING:
    from pixnet.grid import Lattice
    from pixnet.network.network import Network
    from pixnet.slide import Slide

_FEATURE_BYTES = 1 << 30  # memory for the encoder's features of one block
_LARGEST_CORE = 2048  # pixels


def fitting_core(network: Network) -> int:
    """Return the side of the largest block whose features fit in 1 GB, in pixels, up to 2048."""

    def feature_bytes(core: int) -> float:
        near = _bytes_per_pixel(network.encoder.channels, network.pitches) * (core + 2 * network.halo) ** 2
        if not network.far_halo:
            return near
        far_side = core / network.zoom + 2 * network.far_halo
        return near + _bytes_per_pixel(network.channels, network.pitches) * far_side**2

    sides = range(_LARGEST_CORE // network.stride * network.stride, network.stride, -network.stride)
    return next((core for core in sides if feature_bytes(core) <= _FEATURE_BYTES), network.stride)


def _bytes_per_pixel(channels: Sequence[int], pitches: Sequence[int]) -> float:
    """Return the bytes that the features of all levels take for each pixel of the image."""
    return 4 * sum(count / pitch**2 for count, pitch in zip(channels, pitches, strict=True))


def seam_error(
    network: Network, lattice: Lattice, slide: Slide, latent: Callable[[TileImages], NDArray[np.float32]]
) -> float:
    """Return how much the latent values depend on where the slide is cut into blocks, as a share of the largest value.

    Two overlapping blocks in the middle of the slide are computed. The values of a convolutional encoder are the same
    in both; those of a transformer depend on its windows.
    """
    step, finest = network.stride, network.strides[0]
    row, col = (side // 2 // step * step for side in (lattice.height, lattice.width))
    first, second = (
        latent(read_tile(slide, lattice, Box(row + shift, col + shift, 2 * step, 2 * step))[0]) for shift in (0, step)
    )
    overlap = step // finest  # side of the quarter that both blocks hold, in pixels of the field
    difference = np.abs(first[:, overlap:, overlap:] - second[:, :overlap, :overlap]).max()
    return float(difference / max(np.abs(first).max(), np.finfo(np.float32).tiny))
