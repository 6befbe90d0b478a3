"""From the feature pyramid up to the latent map D_1 at the finest stride."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixnet.errors import ModelError
from pixnet.grid import Box
from pixnet.network.fusion_kinds import make_fusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.network.config import DecoderConfig


class Crop(NamedTuple):
    """One level of a pyramid for a batch of tiles: the maps, and where each tile's map starts, in the level's cells."""

    feature: Tensor  # (T, C, h, w)
    rows: Sequence[int]
    cols: Sequence[int]

    @property
    def boxes(self) -> list[Box]:
        """Where each tile's map lies."""
        height, width = self.feature.shape[-2:]
        return [Box(row, col, height, width) for row, col in zip(self.rows, self.cols, strict=True)]

    def cut(self, boxes: Sequence[Box]) -> Crop:
        """Cut each tile's map to its box; all boxes are of one size."""
        tiles = [
            tile[:, b.row - r : b.row - r + b.height, b.col - c : b.col - c + b.width]
            for tile, b, r, c in zip(self.feature, boxes, self.rows, self.cols, strict=True)
        ]
        # Of a single tile the cut is a view.
        cut = tiles[0][None] if len(tiles) == 1 else torch.stack(tiles)
        return Crop(cut, [b.row for b in boxes], [b.col for b in boxes])

    def doubled(self, up: nn.Module) -> Crop:
        """Bring the maps to half the cell by a step up."""
        return Crop(up(self.feature), [2 * row for row in self.rows], [2 * col for col in self.cols])


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


def projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """Make a skip: what each cell of a level says by itself, 1x1, activation, 1x1."""
    hidden = 2 * out_channels
    return nn.Sequential(nn.Conv2d(in_channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, out_channels, 1))


class Standardise(nn.Module):
    """Bring an encoder's channels, which differ widely in scale, to mean 0 and variance 1 over tiles.

    What counts is how much a channel's mean differs from tile to tile: that is the size at which it can tell
    regions apart. The statistics come from training tiles, once, and are kept with the weights.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("sd", torch.ones(channels))

    def learn(self, tiles: Tensor) -> None:
        """Take the statistics from the mean of each channel in each tile, (T, C)."""
        self.mean.copy_(tiles.mean(dim=0))
        sd = tiles.std(dim=0)
        # A channel that is (nearly) always the same must not be blown up into noise.
        self.sd.copy_(sd.clamp(min=1e-2 * float(sd.mean()) + 1e-6))

    def forward(self, feature: Tensor, dropout: float = 0.0) -> Tensor:
        """Standardise (N, C, H, W); in training, drop whole channels with the probability `dropout`."""
        scale = (1.0 / self.sd).expand(len(feature), -1)
        if dropout:
            scale = scale * F.dropout(torch.ones_like(scale), dropout, self.training)
        # Both at once: the finest levels are large, and every pass over them counts.
        return torch.addcmul((-self.mean * scale)[:, :, None, None], feature, scale[:, :, None, None])


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
    """Go up the pyramid: at each level, upsample what lies below and fuse it with the encoder's feature.

    Parameters
    ----------
    encoder_channels
        Channels of F_1 .. F_L, finest first.
    config
        Widths, split between DSUB and bilinear steps, fusion, reading of the attention.

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
        self.scale = nn.ModuleList(Standardise(count) for count in encoder_channels)
        self.out = Standardise(widths[0])
        self.dropout = config.dropout
        self.skip = nn.ModuleList(projection(count, widths[0]) for count in encoder_channels if config.skips)
        self.skip_up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.deepest = conv_block(encoder_channels[-1], widths[-1])
        # Listed in the order of work, from the deepest step to the finest.
        steps = range(levels - 2, -1, -1)
        self.up = nn.ModuleList(
            (DSUB if number < config.dsub_steps else BilinearUp)(widths[level + 1], widths[level])
            for number, level in enumerate(steps)
        )
        self.fuse = nn.ModuleList(make_fusion(encoder_channels[level], widths[level], config) for level in steps)

    @torch.no_grad()
    def learn_scale(self, batches: Sequence[Sequence[Crop]], wants: Sequence[Sequence[Box]]) -> None:
        """Take the scale of every level's channels, and of the output's, from some batches of training tiles."""
        # Batch normalisation on its batch, as in training, but nothing dropped.
        self.train()
        self.scale.eval()
        for level, scale in enumerate(self.scale):
            tiles = []
            for crops in batches:
                feature = crops[level].feature
                height, width = (side // 4 for side in feature.shape[-2:])  # the middle: the rest is margin
                tiles.append(feature[:, :, height : -height or None, width : -width or None].float().mean(dim=(2, 3)))
            cast(Standardise, scale).learn(torch.cat(tiles))
        decoded = [self(crops, want) for crops, want in zip(batches, wants, strict=True)]
        self.out.learn(torch.cat(decoded).mean(dim=(2, 3)))
        self.scale.train()

    def forward(self, crops: Sequence[Crop], want: Sequence[Box]) -> Tensor:
        """Give D_1 (T, C, h, w) on the wanted cells from the crops of F_1 .. F_L.

        The upsampled map is cut to the crop of the next finer level, tile by tile, since tiles may start on odd cells.
        """
        *finer, deepest = (
            crop._replace(feature=scale(crop.feature, self.dropout))
            for scale, crop in zip(self.scale, crops, strict=True)
        )
        decoded = deepest._replace(feature=self.deepest(deepest.feature))
        skipped = deepest._replace(feature=self.skip[-1](deepest.feature)) if self.skip else None
        for level, up, fuse in zip(reversed(range(len(finer))), self.up, self.fuse, strict=True):
            crop = finer[level]
            upsampled = decoded.doubled(up).cut(crop.boxes)
            decoded = crop._replace(feature=fuse(crop.feature, upsampled.feature))
            if skipped:
                wide = skipped.doubled(self.skip_up).cut(crop.boxes)
                skipped = crop._replace(feature=wide.feature + self.skip[level](crop.feature))
        if skipped:
            decoded = decoded._replace(feature=decoded.feature + skipped.feature)
        scaled: Tensor = self.out(decoded.cut(want).feature)
        return scaled
