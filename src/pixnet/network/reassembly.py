"""From the tokens of a transformer to a pyramid: projected at their own pitch, then resampled to the strides.

A transformer's maps all have the pitch of its patches, and hundreds or thousands of channels. Resampled as they are,
they would take that much memory for each pixel of the pyramid. So each level is projected to a few channels first, as
in "Vision Transformers for Dense Prediction" (Ranftl, Bochkovskiy and Koltun, ICCV 2021).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from pixnet.grid import Box
from pixnet.network.blocks import Standardise
from pixnet.network.crop import Crop

if TYPE_CHECKING:
    from collections.abc import Sequence

_NARROWEST = 64  # channels of a projected level


class Reassembly(nn.Module):
    """Projects the tokens of each level and resamples them to its stride.

    Parameters
    ----------
    pitches, strides
        Image pixels along a token, and along a pixel of the pyramid, for each level.
    channels, widths
        Channels of the tokens and of the decoder, for each level.
    """

    def __init__(
        self, pitches: Sequence[int], strides: Sequence[int], channels: Sequence[int], widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.pitches, self.strides = tuple(pitches), tuple(strides)
        self.channels = tuple(max(_NARROWEST, width) for width in widths)
        self.scale = nn.ModuleList(Standardise(count) for count in channels)
        self.project = nn.ModuleList(
            nn.Conv2d(count, width, 1) for count, width in zip(channels, self.channels, strict=True)
        )

    @torch.no_grad()
    def learn_scale(self, batches: Sequence[Sequence[Crop]]) -> None:
        """Take the scale of the tokens' channels from batches of training tiles."""
        for level, scale in enumerate(self.scale):
            means = [crops[level].feature.float().mean(dim=(2, 3)) for crops in batches]
            cast(Standardise, scale).learn(torch.cat(means))

    def forward(self, crops: Sequence[Crop], boxes: Sequence[Sequence[Box]]) -> list[Crop]:
        """Return each level on the boxes of its tiles, which are in pixels of the pyramid.

        The tokens must cover those of `token_box`.
        """
        levels = []
        modules = zip(crops, boxes, self.scale, self.project, self.pitches, self.strides, strict=True)
        for crop, of_level, scale, project, pitch, stride in modules:
            tokens = crop._replace(feature=project(scale(crop.feature)))
            levels.append(resampled(tokens, of_level, pitch, stride))
        return levels


def token_box(box: Box, pitch: int, stride: int) -> Box:
    """Return the box of tokens that bilinear interpolation on a box of pixels needs; its size does not depend on where.

    `pitch` and `stride` are the image pixels along a token and along a pixel.
    """
    row, col = (_before(first, pitch, stride) for first in (box.row, box.col))
    height, width = (-(-(side - 1) * stride // pitch) + 2 for side in (box.height, box.width))
    return Box(row, col, height, width)


def resampled(tokens: Crop, boxes: Sequence[Box], pitch: int, stride: int) -> Crop:
    """Interpolate the tokens of each tile bilinearly at the centres of the pixels of its box."""
    tiles = []
    for tile, row, col, box in zip(tokens.feature, tokens.rows, tokens.cols, boxes, strict=True):
        rows = _interpolated(tile, 1, row, range(box.row, box.row + box.height), pitch, stride)
        tiles.append(_interpolated(rows, 2, col, range(box.col, box.col + box.width), pitch, stride))
    feature = torch.stack(tiles).contiguous(memory_format=torch.channels_last)
    return Crop(feature, [box.row for box in boxes], [box.col for box in boxes])


def _interpolated(tile: Tensor, axis: int, start: int, pixels: range, pitch: int, stride: int) -> Tensor:
    """Interpolate along an axis of a tile (C, h, w), whose first token along it is number `start` of the lattice."""
    # In whole numbers, so that a pixel gets the same weights wherever the tile was cut.
    before = [_before(pixel, pitch, stride) for pixel in pixels]
    beyond = [(2 * pixel + 1) * stride - (2 * token + 1) * pitch for pixel, token in zip(pixels, before, strict=True)]
    index = torch.tensor(before, device=tile.device) - start
    weight = torch.tensor(beyond, device=tile.device, dtype=tile.dtype) / (2 * pitch)
    weight = weight.view(-1, 1) if axis == 1 else weight
    near, far = tile.index_select(axis, index), tile.index_select(axis, index + 1)
    return near + weight * (far - near)


def _before(pixel: int, pitch: int, stride: int) -> int:
    """Return the number of the last token whose centre is not beyond the centre of a pixel."""
    return ((2 * pixel + 1) * stride - pitch) // (2 * pitch)
