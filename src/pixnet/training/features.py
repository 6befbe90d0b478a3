"""Sources of the feature pyramids of a training step: stored features of a frozen encoder, or the encoder itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixnet.features.store import StoredFeatures, box_on_pitch
from pixnet.features.views import View
from pixnet.grid import Box, round_up
from pixnet.network.crop import Crop
from pixnet.network.encoders.base import as_image

if TYPE_CHECKING:
    from torch import Tensor

    from pixnet.network.network import Network
    from pixnet.regions import Regions
    from pixnet.slide import Slide
    from pixnet.training.config import TrainingConfig

_NEAR = 64  # image pixels that a region's bounds are rounded to when looking for what is near


class LiveEncoder:
    """Computes the pyramid of each tile when it is needed; gradients reach the encoder if it is trainable."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def crops(self, views: Sequence[View], wants: Sequence[Box]) -> list[Crop]:
        """Return the encoder's maps for a batch of tiles, each on the pixels that the decoder needs."""
        network, stride, finest = self.network, self.network.stride, self.network.strides[0]
        boxes = [network.map_boxes(want) for want in wants]
        side = round_up(finest * max(wants[0].height, wants[0].width), stride) + stride
        near, far, cores = [], [], []
        for view, want in zip(views, wants, strict=True):
            row, col = (finest * v // stride * stride for v in (want.row, want.col))
            core = Box(row, col, side, side)
            near.append(as_image(view.read(core.grown(network.halo))))
            if network.far_halo:
                far.append(as_image(view.read(view.lattice.far(core), network.zoom)))
            cores.append((row, col))
        device, halo = network.head.scale.device, network.halo
        levels = network.pyramid(torch.stack(near).to(device), torch.stack(far).to(device) if far else None, cores)
        return [
            Crop(level, [(row - halo) // p for row, _ in cores], [(col - halo) // p for _, col in cores]).cut(of_level)
            for level, p, of_level in zip(levels, network.pitches, zip(*boxes, strict=True), strict=True)
        ]

    def levels(self, view: View, box: Box) -> list[Tensor]:
        """Return the encoder's maps, (1, C, h, w) each, of a box of pixels of the deepest map."""
        network, pitch = self.network, self.network.pitches[-1]
        # The encoder's images start on multiples of the stride.
        row, col = (first * pitch // network.stride * network.stride for first in (box.row, box.col))
        height = round_up((box.row + box.height) * pitch - row, network.stride)
        width = round_up((box.col + box.width) * pitch - col, network.stride)
        halo = round_up(network.encoder_halo, network.stride)
        image = as_image(view.read(Box(row, col, height, width).grown(halo)))[None].to(network.head.scale.device)
        maps = network.encoder(image.contiguous(memory_format=torch.channels_last), 0, (row - halo, col - halo))
        return [
            Crop(level, [(row - halo) // p], [(col - halo) // p]).cut([box_on_pitch(box, pitch, p)]).feature
            for level, p in zip(maps, network.pitches, strict=True)
        ]


def plain_view(slide: Slide, network: Network, config: TrainingConfig) -> View:
    """Return a slide as it is, as a network sees it."""
    return View(slide, network.lattice(slide), glass=config.glass(slide))


def draw_views(slide: Slide, network: Network, config: TrainingConfig) -> list[View]:
    """Return the views of a slide; the first is the slide as it is."""
    plain = plain_view(slide, network, config)
    # A view depends on the slide and its number alone, so trainings on other samples find its features.
    slide_seed = int(slide.fingerprint()[:12], 16)
    drawn = [
        plain.redrawn(np.random.default_rng([slide_seed, number]), config.stain_jitter)
        for number in range(1, config.views)
    ]
    return [plain, *drawn]


def tile_reach(regions: Sequence[Regions], network: Network, config: TrainingConfig) -> int:
    """Return how far beyond a region features are used, in image pixels: by tiles that hold it, or the linear path."""
    widest_um = max((float((of.bounds_um[:, 2:] - of.bounds_um[:, :2]).max()) for of in regions), default=0.0)
    tile = math.ceil(max(config.tile_um, widest_um) / network.config.mpp) + 2 * network.strides[0]
    return max(tile, network.linear.margin(network.strides[0]) + network.pitches[-1]) if network.linear else tile


def boxes_around(regions: Regions, view: View, reach: int) -> NDArray[np.integer[Any]]:
    """Return boxes that hold all regions and `reach` image pixels around each, in those of a view, shape (k, 4).

    Each is first row, first column, last row, last column. Regions in the same square of 64 pixels share a box.
    """
    bounds = regions.bounds_um[:, [1, 0, 3, 2]] / view.lattice.mpp
    coarse = np.concatenate([bounds[:, :2] // _NEAR, -(-bounds[:, 2:] // _NEAR)], axis=1).astype(np.int64)
    boxes = view.placed(np.unique(coarse, axis=0) * _NEAR)
    return np.asarray(boxes + np.array([-1, -1, 1, 1]) * reach)


PyramidSource = LiveEncoder | StoredFeatures
