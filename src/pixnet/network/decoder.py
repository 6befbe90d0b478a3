"""The decoder: from the feature pyramid up to the latent map D_1 at the finest stride."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from pixnet.errors import ModelError
from pixnet.network.blocks import DSUB, BilinearUp, Standardise, conv_block
from pixnet.network.density import Density
from pixnet.network.fusion import make_fusion
from pixnet.network.projections import Projections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.grid import Box
    from pixnet.network.config import DecoderConfig
    from pixnet.network.crop import Crop


class Decoder(nn.Module):
    """Goes up the pyramid: at each level, upsamples the map of the level below and fuses it with the encoder's feature.

    Parameters
    ----------
    encoder_channels
        Channels of F_1 .. F_L, finest first.
    config
        Widths, number of DSUB steps, fusion and kind of attention.
    with_density
        Whether to make a density map beside D_1.

    Raises
    ------
    ModelError
        If the number of widths differs from the number of levels.
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
        """Take the scale of the channels of every level, and of the output, from batches of training tiles.

        Parameters
        ----------
        batches
            For each batch the crops of F_1 .. F_L.
        wants
            For each batch one box of latent pixels for each tile.
        """
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

        Parameters
        ----------
        crops
            The crops of F_1 .. F_L.
        want
            One box of latent pixels for each tile.
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
