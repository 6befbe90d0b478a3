"""Building blocks of the decoder: convolutions, upsampling, projections, and the standardisation of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixnet.network.crop import Crop


def conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return the decoder's plain block: depthwise 3x3, BN, ReLU, 1x1, BN, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class Standardise(nn.Module):
    """Scale C channels, which differ widely in size, to mean 0 and variance 1.

    The variance that matters is that of a channel's mean from tile to tile: at this size it distinguishes regions. The
    statistics are taken once, from training tiles, and saved with the weights.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("sd", torch.ones(channels))

    def learn(self, rows: Tensor) -> None:
        """Take the statistics from rows of values, shape (n, C), such as the mean of each channel in each tile."""
        self.mean.copy_(rows.mean(dim=0))
        sd = rows.std(dim=0)
        # A channel that is (nearly) constant must not be amplified into noise.
        self.sd.copy_(sd.clamp(min=1e-2 * float(sd.mean()) + 1e-6))

    def forward(self, feature: Tensor, dropout: float = 0.0) -> Tensor:
        """Standardise a map (N, C, H, W); in training, drop entire channels with the probability `dropout`."""
        scale = (1.0 / self.sd).expand(len(feature), -1)
        if dropout:
            scale = scale * F.dropout(torch.ones_like(scale), dropout, self.training)
        # In one pass: the finest levels are large, and every pass over them takes time.
        return torch.addcmul((-self.mean * scale)[:, :, None, None], feature, scale[:, :, None, None])


class DSUB(nn.Sequential):
    """The depth-to-space upsampling block of the deep levels, C channels out.

    Conv, ReLU, depth-to-space x2, conv, ReLU, conv block. The first convolution makes K = C * 2^2 channels, C for each
    of the four output pixels under one input pixel, so nothing is interpolated.
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


class Projections(nn.Module):
    """Two 1x1 convolutions with a ReLU between them on each level; coarser levels are upsampled bilinearly."""

    def __init__(self, encoder_channels: Sequence[int], channels: int, hidden: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
            for count in encoder_channels
        )
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, crops: Sequence[Crop]) -> Crop:
        """Return the sum on the crop of the finest level; crops of levels without a projection are ignored."""
        *finer, total = (
            crop._replace(feature=project(crop.feature)) for project, crop in zip(self.levels, crops, strict=False)
        )
        for crop in reversed(finer):
            total = crop._replace(feature=crop.feature + total.doubled(self.up).cut(crop.boxes).feature)
        return total
