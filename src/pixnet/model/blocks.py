"""How large the blocks are that a slide is predicted in, and whether their seams show."""

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

_FEATURE_BYTES = 1 << 30  # of the encoder's features of one block
_LARGEST_CORE = 2048  # pixels


def fitting_core(network: Network) -> int:
    """Give the side of the largest block, up to 2048 px, whose features, near and far, fit into 1 GB."""

    def held(core: int) -> float:
        near = _per_pixel(network.encoder.channels, network.strides) * (core + 2 * network.halo) ** 2
        far = _per_pixel(network.channels, network.strides) * (core / network.zoom + 2 * network.far_halo) ** 2
        return near + (far if network.far_halo else 0.0)

    sides = range(_LARGEST_CORE // network.stride * network.stride, network.stride, -network.stride)
    return next((core for core in sides if held(core) <= _FEATURE_BYTES), network.stride)


def _per_pixel(channels: Sequence[int], strides: Sequence[int]) -> float:
    """Give the bytes of all levels for each pixel of the image."""
    return 4 * sum(count / stride**2 for count, stride in zip(channels, strides, strict=True))


def seam_error(
    network: Network, lattice: Lattice, slide: Slide, latent: Callable[[TileImages], NDArray[np.float32]]
) -> float:
    """Compute the middle of a slide twice, cut differently: the largest difference over the largest value.

    A convolutional encoder has no seams, which tests show; what a transformer sees depends on its windows.
    """
    step, finest = network.stride, network.strides[0]
    row, col = (side // 2 // step * step for side in (lattice.height, lattice.width))
    core = Box(row, col, 2 * step, 2 * step)
    shared = step // finest  # the quarter that both cuts hold, in cells
    one, other = (
        latent(read_tile(slide, lattice, Box(core.row + shift, core.col + shift, 2 * step, 2 * step))[0])
        for shift in (0, step)
    )
    difference = np.abs(one[:, shared:, shared:] - other[:, :shared, :shared]).max()
    return float(difference / max(np.abs(one).max(), np.finfo(np.float32).tiny))
