"""The decoder: from the feature pyramid up to the latent map D_1 at the finest stride."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from pixnet.errors import ModelError
from pixnet.network.blocks import DSUB, BilinearUp, Projections, Standardise, conv_block
from pixnet.network.fusion import make_fusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.grid import Box
    from pixnet.network.config import DecoderConfig
    from pixnet.network.crop import Crop

_DENSITY_LEVELS = 3  # finest levels that the density reads; never the deepest, which holds the surroundings too
_DENSITY_HIDDEN = 16  # channels between the density's two convolutions on each level


class Decoder(nn.Module):
    """Goes up the pyramid: at each level, upsamples the map of the level below and fuses it with the encoder's feature.

    `encoder_channels` are those of F_1 .. F_L, finest first. With `with_density` it makes a density map beside D_1.
    """

    def __init__(self, encoder_channels: Sequence[int], config: DecoderConfig, with_density: bool = False) -> None:
        super().__init__()
        widths, levels = config.channels, len(encoder_channels)
        if len(widths) != levels:
            raise ModelError(
                f"[network.decoder] channels has {len(widths)} widths, but the encoder has {levels} levels; "
                "set `channels`, or the encoder's `stride` and `finest`, so that they agree."
            )
        self.scale = nn.ModuleList(Standardise(count) for count in encoder_channels)
        self.out = Standardise(widths[0])
        self.dropout = config.dropout
        self.skip = Projections(encoder_channels, widths[0], 2 * widths[0]) if config.skips else None
        self.deepest = conv_block(encoder_channels[-1], widths[-1])
        # In the order of computation, from the deepest step to the finest.
        steps = range(levels - 2, -1, -1)
        self.up = nn.ModuleList(
            (DSUB if number < config.dsub_steps else BilinearUp)(widths[level + 1], widths[level])
            for number, level in enumerate(steps)
        )
        self.fuse = nn.ModuleList(make_fusion(encoder_channels[level], widths[level], config) for level in steps)
        self.density = Density(encoder_channels, widths[0]) if with_density else None

    @torch.no_grad()
    def learn_scale(self, batches: Sequence[Sequence[Crop]], wants: Sequence[Sequence[Box]]) -> None:
        """Take the scale of the channels of every level, and of the output, from batches of training tiles."""
        # Batch normalisation uses its batch, as in training, but no channel is dropped.
        self.train()
        self.scale.eval()
        for level, scale in enumerate(self.scale):
            tiles = []
            for crops in batches:
                feature = crops[level].feature
                height, width = (side // 4 for side in feature.shape[-2:])  # of the margin around the middle
                tiles.append(feature[:, :, height : -height or None, width : -width or None].float().mean(dim=(2, 3)))
            cast(Standardise, scale).learn(torch.cat(tiles))
        pairs = list(zip(batches, wants, strict=True))
        self.out.learn(torch.cat([self(crops, want)[0].mean(dim=(2, 3)) for crops, want in pairs]))
        if self.density:
            # It reads the map above with its new scale. Its statistics are those of all pixels, not of tile means.
            maps = torch.cat([cast(Tensor, self(crops, want)[1]) for crops, want in pairs])
            self.density.out.learn(maps.flatten()[:, None])
        self.scale.train()

    def forward(self, crops: Sequence[Crop], want: Sequence[Box]) -> tuple[Tensor, Tensor | None]:
        """Return D_1 (T, C, h, w), and the density (T, 1, h, w) if there is one, on the wanted latent pixels.

        The upsampled map is cut to the crop of the next finer level tile by tile, since tiles may start on odd pixels.
        """
        levels = [
            crop._replace(feature=scale(crop.feature, self.dropout))
            for scale, crop in zip(self.scale, crops, strict=True)
        ]
        *finer, deepest = levels
        decoded = deepest._replace(feature=self.deepest(deepest.feature))
        for level, up, fuse in zip(reversed(range(len(finer))), self.up, self.fuse, strict=True):
            crop = finer[level]
            upsampled = decoded.doubled(up).cut(crop.boxes)
            decoded = crop._replace(feature=fuse(crop.feature, upsampled.feature))
        if self.skip:
            decoded = decoded._replace(feature=decoded.feature + self.skip(levels).feature)
        decoded = decoded.cut(want)
        decoded = decoded._replace(feature=self.out(decoded.feature))
        if not self.density:
            return decoded.feature, None
        if self.training:
            # No channel of the levels that the density reads is dropped: a single number per pixel is learned from all
            # regions. Its gradient does not reach these features.
            fine = zip(self.scale, crops, self.density.fine.levels, strict=False)
            levels = [crop._replace(feature=scale(crop.feature.detach())) for scale, crop, _ in fine]
        return decoded.feature, self.density(levels, decoded)


class Density(nn.Module):
    """The amount of expression at a place, over all genes: one map from the finest levels and the decoder's map.

    A measured region holds two kinds of information: which genes it expresses, and how much in total. The programs
    learn the first, this map the second, and the head keeps them apart (`pixnet.network.heads.Head`): a region's total
    is the integral of the density and of nothing else. The finest levels see little beyond a single cell of the tissue,
    so they explain the total of a region by the cells inside it. D_1 adds the wider surroundings. Totals teach this map
    but not the features that it reads: features that learn from totals do worse at the rest on another section
    (benchmarks/notes/tried.md).
    """

    def __init__(self, encoder_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        levels = max(1, min(_DENSITY_LEVELS, len(encoder_channels) - 1))
        self.fine = Projections(encoder_channels[:levels], 1, _DENSITY_HIDDEN)
        self.context = Projections((channels,), 1, channels)
        # Details finer than this at the finest stride are texture, which differs from training to training.
        self.smooth = nn.AvgPool2d(3, stride=1, padding=1)
        self.out = Standardise(1)

    def forward(self, levels: Sequence[Crop], decoded: Crop) -> Tensor:
        """Return the map (T, 1, h, w), before any activation, on the pixels of the decoder's map (T, C, h, w).

        The levels are standardised, finest first, and the finest must reach one pixel further than the decoder's map.
        Levels coarser than those that are read are ignored.
        """
        fine = self.fine(levels)
        smooth = fine._replace(feature=self.smooth(fine.feature)).cut(decoded.boxes).feature
        context = self.context([decoded._replace(feature=decoded.feature.detach())]).feature
        scaled: Tensor = self.out(smooth + context)
        return scaled
