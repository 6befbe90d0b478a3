"""What the decoder is built of: convolutions, steps up, and the scale that an encoder's channels are brought to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


class Standardise(nn.Module):
    """Bring channels, which differ widely in scale, to mean 0 and variance 1.

    What counts of an encoder's channel is how much its mean differs from tile to tile: that is the size at which it can
    tell regions apart. The statistics come from training tiles, once, and are kept with the weights.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("sd", torch.ones(channels))

    def learn(self, rows: Tensor) -> None:
        """Take the statistics from some rows (n, C), such as the mean of each channel in each tile."""
        self.mean.copy_(rows.mean(dim=0))
        sd = rows.std(dim=0)
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
