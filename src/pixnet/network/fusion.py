"""Fusion blocks: the encoder's feature and the decoder's map from below become one map.

The separable attention fusion block (SAFB) is the paper's; the others are there to compare it with.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from pixnet.network.config import DecoderConfig

Attention = Literal["channel", "local", "row"]

_NEIGHBOURHOOD = 5  # side, in pixels, of the neighbourhood that the transformer attends to
_HEAD_CHANNELS = 16  # channels of one head of the transformer


def make_fusion(encoder_channels: int, channels: int, config: DecoderConfig) -> nn.Module:
    """Return the fusion block of one level, which maps F (N, C_F, H, W) and U (N, C, H, W) to D (N, C, H, W)."""
    if config.fusion == "safb":
        return SAFB(encoder_channels, channels, config.attention)
    blocks: dict[str, type[nn.Module]] = {"plain": PlainFusion, "residual": ResidualFusion, "vit": TransformerFusion}
    return blocks[config.fusion](encoder_channels, channels)


class Reach(NamedTuple):
    """Pixels around an output pixel that a fusion block depends on, in the encoder's feature and the upsampled map."""

    feature: int
    upsampled: int


def fusion_reach(config: DecoderConfig) -> Reach:
    """Return the reach of a decoder's fusion blocks; attention along rows, which sees complete rows, is not counted."""
    if config.fusion == "safb":
        # The depthwise 3x3 convolution, and the 3x3 of local attention around it.
        return Reach(2, 1) if config.attention == "local" else Reach(1, 0)
    return {"plain": Reach(1, 1), "residual": Reach(2, 2), "vit": Reach(2, 2)}[config.fusion]


class SAFB(nn.Module):
    """Separable attention fusion block: an encoder feature F and the upsampled decoder map U of the same stride.

    As in the figure of the paper (arXiv 2503.01347v4):

        M  = LN(Conv1x1(SiLU(DWC3x3(F))))
        F' = BN(SiLU(DWC3x3(F) + M))
        Z  = Conv1x1(concat(F', U)) -> Q, K, V
        D  = U + softmax(Q K / beta) V,  beta = sqrt(width)

    `attention` is the axis over which the product Q K is taken; see `DecoderConfig`.
    """

    def __init__(self, encoder_channels: int, channels: int, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        self.depthwise = nn.Conv2d(encoder_channels, encoder_channels, 3, padding=1, groups=encoder_channels)
        self.mix = nn.Conv2d(encoder_channels, encoder_channels, 1)
        self.mix_norm = ChannelNorm(encoder_channels)
        self.norm = nn.BatchNorm2d(encoder_channels)
        self.latent = nn.Conv2d(encoder_channels + channels, channels, 1)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        if attention == "channel":
            # A softmax over channels weights each by about 1 / channels. The values start larger by that factor, so
            # that U does not outweigh the encoder's detail from the first step on.
            with torch.no_grad():
                self.qkv.weight[2 * channels :] *= channels
        # Local attention reaches one pixel further, which its unfolding layer shows as part of the module.
        self.neighbours = nn.Unfold(3, padding=1) if attention == "local" else nn.Identity()

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Return D (N, C, H, W) for F (N, C_F, H, W) and U (N, C, H, W)."""
        local = self.depthwise(feature)
        mixed = self.mix_norm(self.mix(F.silu(local)))
        refined = self.norm(F.silu(local + mixed))
        query, key, value = self.qkv(self.latent(torch.cat([refined, upsampled], dim=1))).chunk(3, dim=1)
        return upsampled + self._attend(query, key, value)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        n, channels, height, width = query.shape
        beta = math.sqrt(channels)
        if self.attention == "channel":
            return attend_over_channels(query * key / beta, value)
        if self.attention == "local":
            # Shape (N, C, 9, H, W): each pixel with its eight neighbours.
            keys = self.neighbours(key).view(n, channels, 9, height, width)
            values = self.neighbours(value).view(n, channels, 9, height, width)
            weight = torch.softmax((query.unsqueeze(2) * keys).sum(1, keepdim=True) / beta, dim=2)
            local: Tensor = (weight * values).sum(2)
            return local
        q, k, v = (t.permute(0, 2, 3, 1).contiguous() for t in (query, key, value))
        # scaled_dot_product_attention divides by sqrt(channels), which is beta.
        attended: Tensor = F.scaled_dot_product_attention(q, k, v)
        return attended.permute(0, 3, 1, 2)


class PlainFusion(nn.Module):
    """Concatenation of both maps, then a 3x3 convolution, BN and ReLU, as in a U-Net."""

    def __init__(self, encoder_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(encoder_channels + channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Return D (N, C, H, W) for F (N, C_F, H, W) and U (N, C, H, W)."""
        return F.relu(self.norm(self.conv(torch.cat([feature, upsampled], dim=1))))


class ResidualFusion(nn.Module):
    """Concatenation and projection of both maps, then the basic block of a ResNet (He et al., CVPR 2016)."""

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
        """Return D (N, C, H, W) for F (N, C_F, H, W) and U (N, C, H, W)."""
        joined = self.project(torch.cat([feature, upsampled], dim=1))
        return F.relu(joined + self.block(joined))


class TransformerFusion(nn.Module):
    """Concatenation and projection of both maps, then a transformer block (ViT, Dosovitskiy et al., ICLR 2021).

    Each pixel attends to the 5 x 5 pixels around it (neighbourhood attention, Hassani et al., CVPR 2023), while a ViT
    attends to its complete window. The block therefore needs no absolute position: a learned bias for each of the 25
    neighbours encodes where the neighbour is.
    """

    def __init__(self, encoder_channels: int, channels: int) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(max(1, channels // _HEAD_CHANNELS), 0, -1) if channels % heads == 0)
        self.project = nn.Conv2d(encoder_channels + channels, channels, 1)
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.place = nn.Parameter(torch.zeros(self.heads, _NEIGHBOURHOOD**2))
        self.mix = nn.Conv2d(channels, channels, 1)
        self.mlp = nn.Sequential(
            ChannelNorm(channels), nn.Conv2d(channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1)
        )

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Return D (N, C, H, W) for F (N, C_F, H, W) and U (N, C, H, W)."""
        joined = self.project(torch.cat([feature, upsampled], dim=1))
        joined = joined + self.mix(self._attend(self.norm(joined)))
        result: Tensor = joined + self.mlp(joined)
        return result

    def _attend(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        shape = n, self.heads, channels // self.heads, height, width
        query, key, value = (part.reshape(shape) for part in self.qkv(x).chunk(3, dim=1))
        margin = _NEIGHBOURHOOD // 2
        key, value = (
            F.pad(part.flatten(0, 1), (margin,) * 4).reshape(*shape[:3], height + 2 * margin, width + 2 * margin)
            for part in (key, value)
        )
        neighbours = [
            (..., slice(row, row + height), slice(col, col + width))
            for row in range(_NEIGHBOURHOOD)
            for col in range(_NEIGHBOURHOOD)
        ]
        # Neighbour by neighbour on views of one padded map: unfolding would hold 25 copies of it.
        score = torch.stack([(query * key[neighbour]).sum(dim=2) for neighbour in neighbours], dim=2)
        score = score / math.sqrt(shape[2]) + self.place[None, :, :, None, None]
        weight = torch.softmax(score, dim=2).unsqueeze(3)
        attended = torch.zeros_like(query)
        for number, neighbour in enumerate(neighbours):
            attended = attended + weight[:, :, number] * value[neighbour]
        return attended.reshape(n, channels, height, width)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, so that pixels do not depend on the tile around them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a map (N, C, H, W) normalised over C."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def attend_over_channels(score: Tensor, value: Tensor) -> Tensor:
    """Return the values (N, C, H, W) of each pixel weighted by the softmax of their scores over the channels."""
    # In channels-last memory the channels of a pixel are contiguous, so the permutation needs no copy.
    weight = torch.softmax(score.permute(0, 2, 3, 1), dim=-1).permute(0, 3, 1, 2)
    return weight * value
