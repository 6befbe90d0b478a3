"""From the feature pyramid up to the latent map D_1 at the finest stride."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from pixnet.errors import ModelError
from pixnet.network.fusion import SAFB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.grid import Box
    from pixnet.network.config import DecoderConfig


class Crop(NamedTuple):
    """One level of a pyramid for a batch of tiles: the maps, and where each tile's map starts, in the level's cells."""

    feature: Tensor  # (T, C, h, w)
    rows: Sequence[int]
    cols: Sequence[int]


def conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Make the decoder's plain block: depthwise 3x3, BN, activation, 1x1, BN, activation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class DSUB(nn.Sequential):
    """The depth-to-space upsampling block of the deep levels.

    Conv, ReLU, depth-to-space x2, conv, ReLU, conv block. The first convolution makes K = C * 2^2 channels: the four
    output pixels under one input pixel, each with C channels of its own, so nothing is interpolated.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1),
            nn.ReLU(),
            nn.PixelShuffle(2),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.ReLU(),
            conv_block(out_channels, out_channels),
        )


class BilinearUp(nn.Sequential):
    """The upsampling block of the shallow levels: conv block, bilinear x2, conv block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            conv_block(in_channels, out_channels),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            conv_block(out_channels, out_channels),
        )


class Decoder(nn.Module):
    """Go up the pyramid: at each level, upsample what lies below and fuse it with the encoder's feature (SAFB).

    Parameters
    ----------
    encoder_channels
        Channels of F_1 .. F_L, finest first.
    config
        Widths, split between DSUB and bilinear steps, reading of the attention.

    Raises
    ------
    ModelError
        If the number of widths is not the number of levels.
    """

    def __init__(self, encoder_channels: Sequence[int], config: DecoderConfig) -> None:
        super().__init__()
        widths, levels = config.channels, len(encoder_channels)
        if len(widths) != levels:
            raise ModelError(
                f"[network.decoder] channels has {len(widths)} widths, but the encoder gives {levels} levels; "
                "set `channels`, or the encoder's `stride` and `finest`, so that they agree."
            )
        self.drop = nn.Dropout2d(config.dropout)
        self.deepest = conv_block(encoder_channels[-1], widths[-1])
        # Listed in the order of work, from the deepest step to the finest.
        steps = range(levels - 2, -1, -1)
        self.up = nn.ModuleList(
            (DSUB if number < config.dsub_steps else BilinearUp)(widths[level + 1], widths[level])
            for number, level in enumerate(steps)
        )
        self.fuse = nn.ModuleList(SAFB(encoder_channels[level], widths[level], config.attention) for level in steps)

    def forward(self, crops: Sequence[Crop], want: Sequence[Box]) -> Tensor:
        """Give D_1 (T, C, h, w) on the wanted cells from the crops of F_1 .. F_L.

        The upsampled map is cut to the crop of the next finer level, tile by tile, since tiles may start on odd cells.
        """
        deepest = crops[-1]
        decoded, rows, cols = self.deepest(self.drop(deepest.feature)), deepest.rows, deepest.cols
        for up, fuse, crop in zip(self.up, self.fuse, reversed(crops[:-1]), strict=True):
            upsampled = _cut(up(decoded), [2 * r for r in rows], [2 * c for c in cols], crop)
            decoded, rows, cols = fuse(self.drop(crop.feature), upsampled), crop.rows, crop.cols
        return torch.stack(
            [
                tile[:, b.row - r : b.row - r + b.height, b.col - c : b.col - c + b.width]
                for tile, b, r, c in zip(decoded, want, rows, cols, strict=True)
            ]
        )


def _cut(upsampled: Tensor, rows: Sequence[int], cols: Sequence[int], crop: Crop) -> Tensor:
    """Cut each tile's upsampled map, which starts at (rows, cols), to the cells of a crop."""
    height, width = crop.feature.shape[-2:]
    return torch.stack(
        [
            tile[:, r - row : r - row + height, c - col : c - col + width]
            for tile, row, col, r, c in zip(upsampled, rows, cols, crop.rows, crop.cols, strict=True)
        ]
    )
