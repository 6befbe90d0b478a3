"""From the feature pyramid up to the latent map D_1 at the finest stride."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

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


def projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """Make a skip: what each cell of a level says by itself, 1x1, activation, 1x1."""
    hidden = 2 * out_channels
    return nn.Sequential(nn.Conv2d(in_channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, out_channels, 1))


class Surroundings(nn.Module):
    """Set each cell of the deepest level beside the means of its surroundings, over squares of several widths.

    A mean centred on the cell shows it as much of its surroundings as a further level would, from half as far away.

    Parameters
    ----------
    widths
        Odd widths of the squares, in cells.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.means = nn.ModuleList(
            nn.AvgPool2d(width, stride=1, padding=width // 2, count_include_pad=False) for width in widths
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Give (N, (1 + widths) * C, H, W) from (N, C, H, W)."""
        return torch.cat([feature, *(mean(feature) for mean in self.means)], dim=1)


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

    def forward(self, feature: Tensor) -> Tensor:
        """Standardise (N, C, H, W)."""
        return (feature - self.mean.view(1, -1, 1, 1)) / self.sd.view(1, -1, 1, 1)


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
        self.scale = nn.ModuleList(Standardise(count) for count in encoder_channels)
        self.out = Standardise(widths[0])
        self.drop = nn.Dropout2d(config.dropout)
        self.skip = nn.ModuleList(projection(count, widths[0]) for count in encoder_channels if config.skips)
        if config.skips and config.surroundings:
            wide = Surroundings(config.surroundings)
            self.skip[-1] = nn.Sequential(
                wide, projection(encoder_channels[-1] * (1 + len(config.surroundings)), widths[0])
            )
        self.skip_up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.deepest = conv_block(encoder_channels[-1], widths[-1])
        # Listed in the order of work, from the deepest step to the finest.
        steps = range(levels - 2, -1, -1)
        self.up = nn.ModuleList(
            (DSUB if number < config.dsub_steps else BilinearUp)(widths[level + 1], widths[level])
            for number, level in enumerate(steps)
        )
        self.fuse = nn.ModuleList(SAFB(encoder_channels[level], widths[level], config.attention) for level in steps)

    @torch.no_grad()
    def learn_scale(self, batches: Sequence[Sequence[Crop]], wants: Sequence[Sequence[Box]]) -> None:
        """Take the scale of every level's channels, and of the output's, from some batches of training tiles."""
        # Batch normalisation on its batch, as in training, but nothing dropped.
        self.train()
        self.drop.eval()
        for level, scale in enumerate(self.scale):
            tiles = []
            for crops in batches:
                feature = crops[level].feature
                height, width = (side // 4 for side in feature.shape[-2:])  # the middle: the rest is margin
                tiles.append(feature[:, :, height : -height or None, width : -width or None].float().mean(dim=(2, 3)))
            cast(Standardise, scale).learn(torch.cat(tiles))
        decoded = [self(crops, want) for crops, want in zip(batches, wants, strict=True)]
        self.out.learn(torch.cat(decoded).mean(dim=(2, 3)))
        self.drop.train()

    def forward(self, crops: Sequence[Crop], want: Sequence[Box]) -> Tensor:
        """Give D_1 (T, C, h, w) on the wanted cells from the crops of F_1 .. F_L.

        The upsampled map is cut to the crop of the next finer level, tile by tile, since tiles may start on odd cells.
        """
        crops = [Crop(self.drop(scale(c.feature)), c.rows, c.cols) for scale, c in zip(self.scale, crops, strict=True)]
        *finer, deepest = crops
        decoded, skipped = self.deepest(deepest.feature), self.skip[-1](deepest.feature) if self.skip else None
        rows, cols = deepest.rows, deepest.cols
        for level, up, fuse in zip(reversed(range(len(finer))), self.up, self.fuse, strict=True):
            crop = finer[level]
            starts = [2 * r for r in rows], [2 * c for c in cols]
            decoded = fuse(crop.feature, _cut(up(decoded), *starts, crop))
            if skipped is not None:
                skipped = _cut(self.skip_up(skipped), *starts, crop) + self.skip[level](crop.feature)
            rows, cols = crop.rows, crop.cols
        if skipped is not None:
            decoded = decoded + skipped
        cut = [
            tile[:, b.row - r : b.row - r + b.height, b.col - c : b.col - c + b.width]
            for tile, b, r, c in zip(decoded, want, rows, cols, strict=True)
        ]
        scaled: Tensor = self.out(torch.stack(cut))
        return scaled


def _cut(upsampled: Tensor, rows: Sequence[int], cols: Sequence[int], crop: Crop) -> Tensor:
    """Cut each tile's upsampled map, which starts at (rows, cols), to the cells of a crop."""
    height, width = crop.feature.shape[-2:]
    return torch.stack(
        [
            tile[:, r - row : r - row + height, c - col : c - col + width]
            for tile, row, col, r, c in zip(upsampled, rows, cols, crop.rows, crop.cols, strict=True)
        ]
    )
