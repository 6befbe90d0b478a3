"""Computing features: the encoder, and the surroundings, on parts of a view."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixnet.features.blocks import Area
from pixnet.features.views import View, count_valid
from pixnet.grid import Box, round_up
from pixnet.network.encoders.base import as_image
from pixnet.network.fast.stripwise import stripwise

if TYPE_CHECKING:
    from pixnet.network.network import Network

_PART = 1536  # side of a part, in image pixels, that is computed at once
_STRIP = 64  # rows of pixels of the deepest map whose surroundings are interpolated at a time

Blocks = dict[tuple[int, int], NDArray[Any]]
Compute = Callable[[View, Box], list[NDArray[Any]]]
"""Computes the maps of a box of image pixels, each (h, w, C), which is one of `parts`."""


class Part(NamedTuple):
    """A box of image pixels to compute, and the blocks of each level that are to be stored of it."""

    core: Box
    needed: Area


def parts(needed: Area, missing: Area, side: int, step: int, zoom: int = 1) -> Iterator[Part]:
    """Cut an area into parts, and yield those with missing blocks.

    A part depends on what is `needed` and not on what is `missing`, so features that were interrupted become the same.
    `side` is that of a block, and parts start and end on multiples of `step` image pixels.
    """
    align = math.lcm(side, step) // side
    count = round_up(-(-_PART * zoom // side), align)
    height, width = needed.chosen.shape[1:]
    for row in range(needed.row // count * count, needed.row + height, count):
        for col in range(needed.col // count * count, needed.col + width, count):
            wanted = missing.window(row, col, (count, count))
            if not wanted.any():
                continue
            touched = np.asarray(needed.window(row, col, (count, count)).any(axis=0))
            (top, bottom), (left, right) = (
                (int(found[0]) // align * align, (int(found[-1]) // align + 1) * align)
                for found in (np.flatnonzero(touched.any(axis=axis)) for axis in (1, 0))
            )
            core = Box(*(side * n for n in (row + top, col + left, bottom - top, right - left)))
            yield Part(core, Area(row + top, col + left, wanted[:, top:bottom, left:right]))


def cut(maps: list[NDArray[Any]], needed: Area) -> list[Blocks]:
    """Return the needed blocks of the maps of a part, (h, w, C) each, by row and column."""
    rows = needed.chosen.shape[1]
    result = []
    for values, chosen in zip(maps, needed.chosen, strict=True):
        side = len(values) // rows
        result.append(
            {
                (needed.row + int(r), needed.col + int(c)): values[r * side : (r + 1) * side, c * side : (c + 1) * side]
                for r, c in np.argwhere(chosen)
            }
        )
    return result


class Encoding:
    """Computes the features of a network's frozen encoder, as float16, and which pixels hold data."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._device = network.head.scale.device
        self._encoder = stripwise(network.encoder) if self._device.type == "cpu" else network.encoder

    @torch.inference_mode()
    def maps(self, view: View, core: Box) -> list[NDArray[Any]]:
        """Return the encoder's maps, and the number of image pixels with data in each latent pixel."""
        network = self.network
        halo = round_up(network.encoder_halo, network.stride)
        rgb, mask = view.read_valid(core.grown(halo))
        levels = self._encoder(self._tensor(rgb), halo, (core.row - halo, core.col - halo))
        found: list[NDArray[Any]] = []
        for level, pitch in zip(levels, network.pitches, strict=True):
            cut = Box(halo // pitch, halo // pitch, core.height // pitch, core.width // pitch)
            found.append(_half(level[:, :, *cut.window]))
        valid = mask[halo : halo + core.height, halo : halo + core.width]
        return [*found, count_valid(valid, network.strides[0])[:, :, None]]

    @torch.inference_mode()
    def surroundings(self, view: View, core: Box) -> list[NDArray[Any]]:
        """Return the surroundings at the pitch of the deepest map, computed from the coarser image."""
        network, pitch, zoom = self.network, self.network.pitches[-1], self.network.zoom
        halo = zoom * network.far_halo // pitch  # in pixels of the deepest map
        image = self._tensor(view.read(view.lattice.far(core), zoom))
        rows, cols = core.height // pitch, slice(halo, halo + core.width // pitch)
        means = network.surroundings(self._encoder(image, network.far_rim, network.far_origin(core.row, core.col)))
        strips = (slice(halo + first, halo + min(first + _STRIP, rows)) for first in range(0, rows, _STRIP))
        return [np.concatenate([_half(network.surroundings.finer(means, strip, cols)) for strip in strips])]

    def _tensor(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Return an image (h, w, 3) as the encoder's input (1, 3, h, w), on its device."""
        return as_image(rgb)[None].to(self._device).contiguous(memory_format=torch.channels_last)


def _half(level: Tensor) -> NDArray[np.float16]:
    """Return a map (1, C, h, w) as float16, (h, w, C)."""
    return np.asarray(level[0].permute(1, 2, 0).half().cpu().numpy())
