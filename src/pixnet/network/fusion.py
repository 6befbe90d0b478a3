"""The separable attention fusion block (SAFB): encoder detail and decoder context become one map."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attention = Literal["channel", "local", "row"]


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, so that a pixel does not depend on the tile around it."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) over C."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def attend_over_channels(score: Tensor, value: Tensor) -> Tensor:
    """Weigh the values (N, C, H, W) of each pixel by the softmax of their scores over the channels."""
    # Channels lie side by side in memory: as the last axis they need no copy.
    weight = torch.softmax(score.permute(0, 2, 3, 1), dim=-1).permute(0, 3, 1, 2)
    return weight * value


class SAFB(nn.Module):
    """Fuse an encoder feature F with the upsampled decoder feature U of the same stride.

    As drawn in the paper (arXiv 2503.01347v4):

        M  = LN(Conv1x1(SiLU(DWC3x3(F))))
        F' = BN(SiLU(DWC3x3(F) + M))
        Z  = Conv1x1(concat(F', U)) -> Q, K, V
        D  = U + softmax(Q K / beta) V,  beta = sqrt(width)

    Parameters
    ----------
    encoder_channels
        Channels of F.
    channels
        Channels of U, of the latent Z and of the output D.
    attention
        How the product Q K is read; see `DecoderConfig`.
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
            # A softmax over channels weighs each by about 1 / channels; the values start that much larger, so that
            # the encoder's detail is not drowned by U from the first step on.
            with torch.no_grad():
                self.qkv.weight[2 * channels :] *= channels
        # The local reading looks one pixel further; an identity that says so keeps the receptive field honest.
        self.neighbours = nn.Unfold(3, padding=1) if attention == "local" else nn.Identity()

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Give D (N, C, H, W) from F (N, C_F, H, W) and U (N, C, H, W)."""
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
            # (N, C, 9, H, W): each pixel beside its eight neighbours.
            keys = self.neighbours(key).view(n, channels, 9, height, width)
            values = self.neighbours(value).view(n, channels, 9, height, width)
            weight = torch.softmax((query.unsqueeze(2) * keys).sum(1, keepdim=True) / beta, dim=2)
            local: Tensor = (weight * values).sum(2)
            return local
        q, k, v = (t.permute(0, 2, 3, 1).contiguous() for t in (query, key, value))
        # scaled_dot_product_attention divides by sqrt(channels), which is beta.
        attended: Tensor = F.scaled_dot_product_attention(q, k, v)
        return attended.permute(0, 3, 1, 2)
