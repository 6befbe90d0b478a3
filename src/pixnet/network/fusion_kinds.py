"""How encoder and decoder maps are fused: by SAFB, or by what it is compared with.

The paper's ablation (arXiv 2503.01347v4) sets SAFB beside decoders of plain convolutions, of ResNet blocks and of a
ViT, without their details. Here each takes the place of SAFB, and the rest of the decoder stays as it is. All see a few
cells around each cell, never the whole tile, so the map does not depend on how the slide is cut.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixnet.network.fusion import SAFB, ChannelNorm

if TYPE_CHECKING:
    from pixnet.network.config import DecoderConfig

_SIDE = 5  # cells on a side of the neighbourhood that the transformer attends to
_HEAD = 16  # channels of one head


class Reach(NamedTuple):
    """How many cells around a cell of its output a fusion block looks at, in either of its two inputs.

    Attributes
    ----------
    feature
        In the encoder's feature.
    upsampled
        In what comes up from below.
    """

    feature: int
    upsampled: int


def fusion_reach(config: DecoderConfig) -> Reach:
    """Give the reach of a decoder's fusion blocks; the row reading, which sees whole rows, is taken for its tile's."""
    if config.fusion == "safb":
        # The depthwise 3x3 alone, or the local attention around it.
        return Reach(2, 1) if config.attention == "local" else Reach(1, 0)
    return {"plain": Reach(1, 1), "residual": Reach(2, 2), "vit": Reach(2, 2)}[config.fusion]


def make_fusion(encoder_channels: int, channels: int, config: DecoderConfig) -> nn.Module:
    """Make the fusion block of one level: it maps F (N, C_F, H, W) and U (N, C, H, W) to D (N, C, H, W)."""
    if config.fusion == "safb":
        return SAFB(encoder_channels, channels, config.attention)
    rivals: dict[str, type[nn.Module]] = {"plain": PlainFusion, "residual": ResidualFusion, "vit": TransformerFusion}
    return rivals[config.fusion](encoder_channels, channels)


class PlainFusion(nn.Module):
    """Concatenate both maps, then a 3x3 convolution, BN and ReLU, as in a U-Net.

    Parameters
    ----------
    encoder_channels
        Channels of F.
    channels
        Channels of U and of the output.
    """

    def __init__(self, encoder_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(encoder_channels + channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Give D (N, C, H, W) from F (N, C_F, H, W) and U (N, C, H, W)."""
        return F.relu(self.norm(self.conv(torch.cat([feature, upsampled], dim=1))))


class ResidualFusion(nn.Module):
    """Concatenate both maps, project them, then the basic block of a ResNet (He et al., CVPR 2016).

    Parameters
    ----------
    encoder_channels, channels
        As for `PlainFusion`.
    """

    def __init__(self, encoder_channels: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(encoder_channels + channels, channels, 1)
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Give D (N, C, H, W) from F (N, C_F, H, W) and U (N, C, H, W)."""
        joined = self.project(torch.cat([feature, upsampled], dim=1))
        return F.relu(joined + self.block(joined))


class TransformerFusion(nn.Module):
    """Concatenate both maps, project them, then one transformer block as in a ViT (Dosovitskiy et al., ICLR 2021).

    Each cell attends to the 5 x 5 cells around itself (neighbourhood attention, Hassani et al., CVPR 2023), where a
    ViT attends to its whole window: so it needs no position to begin from. A learned bias for each of the 25 places
    says where a neighbour lies.

    Parameters
    ----------
    encoder_channels, channels
        As for `PlainFusion`.
    """

    def __init__(self, encoder_channels: int, channels: int) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(max(1, channels // _HEAD), 0, -1) if channels % heads == 0)
        self.project = nn.Conv2d(encoder_channels + channels, channels, 1)
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.place = nn.Parameter(torch.zeros(self.heads, _SIDE**2))
        self.mix = nn.Conv2d(channels, channels, 1)
        self.mlp = nn.Sequential(
            ChannelNorm(channels), nn.Conv2d(channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1)
        )

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Give D (N, C, H, W) from F (N, C_F, H, W) and U (N, C, H, W)."""
        joined = self.project(torch.cat([feature, upsampled], dim=1))
        joined = joined + self.mix(self._attend(self.norm(joined)))
        result: Tensor = joined + self.mlp(joined)
        return result

    def _attend(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        shape = n, self.heads, channels // self.heads, height, width
        query, key, value = (part.reshape(shape) for part in self.qkv(x).chunk(3, dim=1))
        around = _SIDE // 2
        key, value = (
            F.pad(part.flatten(0, 1), (around,) * 4).reshape(*shape[:3], height + 2 * around, width + 2 * around)
            for part in (key, value)
        )
        places = [
            (..., slice(row, row + height), slice(col, col + width)) for row in range(_SIDE) for col in range(_SIDE)
        ]
        # Neighbour by neighbour: views of one padded map, where unfolding would hold 25 copies of it.
        score = torch.stack([(query * key[place]).sum(dim=2) for place in places], dim=2)
        score = score / math.sqrt(shape[2]) + self.place[None, :, :, None, None]
        weight = torch.softmax(score, dim=2).unsqueeze(3)
        attended = torch.zeros_like(query)
        for number, place in enumerate(places):
            attended = attended + weight[:, :, number] * value[place]
        return attended.reshape(n, channels, height, width)
