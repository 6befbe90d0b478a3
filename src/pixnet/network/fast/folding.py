"""The decoder, folded for prediction: the same numbers from fewer passes over its maps.

The finest levels are large and their convolutions small, so most of the decoder's time is spent on reading and writing
maps. Consecutive linear operations are therefore joined: a standardisation with the convolution after it, a batch
normalisation with the convolution before it, and in SAFB everything from its normalisation to query, key and value.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pixnet.network.blocks import Standardise
from pixnet.network.decoder import Decoder
from pixnet.network.fusion import SAFB, attend_over_channels

if TYPE_CHECKING:
    from collections.abc import Iterable


@torch.no_grad()
def folded(decoder: Decoder) -> Decoder:
    """Return a copy of a trained decoder that computes the same in evaluation mode.

    The numbers differ only near the edge of the crops' maps, in the margin that no wanted pixel depends on: there a
    convolution is padded with 0 instead of with the mean of the training tiles.
    """
    result = copy.deepcopy(decoder).eval()
    for module in list(result.modules()):
        if isinstance(module, nn.Sequential):
            _fold_norms(module)
    # Attention along rows depends on the maps up to their edges.
    sees_edges = any(isinstance(fuse, SAFB) and fuse.attention == "row" for fuse in result.fuse)
    for level, readers in enumerate(_readers(result)):
        if readers and not sees_edges:
            scale = cast(Standardise, result.scale[level])
            for convolution in readers:
                _standardise_first(convolution, scale)
            result.scale[level] = _NoStandardise()
    for number, fuse in enumerate(result.fuse):
        if isinstance(fuse, SAFB) and fuse.attention == "channel":
            result.fuse[number] = FoldedSAFB(fuse)
    return result.requires_grad_(False).to(memory_format=torch.channels_last)


class FoldedSAFB(nn.Module):
    """SAFB with channel attention, its linear part as two convolutions: one of F' before BN, and one of U.

    For prediction only, because it writes into its own maps in place.
    """

    def __init__(self, block: SAFB) -> None:
        super().__init__()
        self.depthwise = block.depthwise
        self.mix = block.mix
        self.mix_norm = block.mix_norm
        latent, qkv = (convolution.weight[:, :, 0, 0] for convolution in (block.latent, block.qkv))
        channels = len(latent)
        # Q is divided by beta beforehand, since the softmax takes Q K / beta.
        factor = torch.ones(3 * channels)
        factor[:channels] = 1.0 / math.sqrt(channels)
        joined = factor[:, None].to(qkv) * (qkv @ latent)
        mean, variance = cast(Tensor, block.norm.running_mean), cast(Tensor, block.norm.running_var)
        gain = block.norm.weight / torch.sqrt(variance + block.norm.eps)
        shift = block.norm.bias - mean * gain
        refined, upsampled = joined[:, :-channels], joined[:, -channels:]
        bias = factor.to(qkv) * (qkv @ _bias(block.latent) + _bias(block.qkv)) + refined @ shift
        self.from_refined = _pointwise(refined * gain, bias)
        self.from_upsampled = _pointwise(upsampled, None)

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Return D (N, C, H, W) for F (N, C_F, H, W) and U (N, C, H, W)."""
        local = self.depthwise(feature)
        refined = F.silu(self.mix_norm(self.mix(F.silu(local))).add_(local), inplace=True)
        query, key, value = self.from_refined(refined).add_(self.from_upsampled(upsampled)).chunk(3, dim=1)
        return attend_over_channels(query * key, value).add_(upsampled)


class _NoStandardise(nn.Module):
    """Takes the place of a standardisation that was folded into the convolutions after it."""

    def forward(self, feature: Tensor, dropout: float = 0.0) -> Tensor:
        return feature


def _readers(decoder: Decoder) -> Iterable[list[nn.Conv2d]]:
    """Yield the convolutions that read each level, finest first; none where another module reads it too."""
    # The decoder lists its fusions from the deepest level on.
    first = [fuse.depthwise if isinstance(fuse, SAFB) else None for fuse in reversed(decoder.fuse)]
    for level, convolution in enumerate((*first, decoder.deepest[0])):
        modules = [decoder.skip, decoder.density and decoder.density.fine]
        projections = [
            cast(nn.Sequential, module.levels[level])[0] for module in modules if module and level < len(module.levels)
        ]
        readers = (convolution, *projections)
        yield [cast(nn.Conv2d, reader) for reader in readers] if convolution is not None else []


def _standardise_first(convolution: nn.Conv2d, scale: Standardise) -> None:
    """Fold the standardisation of a convolution's input into the convolution."""
    weight = convolution.weight
    # Shape of the weight: (out, 1) for a depthwise convolution, with one input per output, otherwise (out, in).
    channels = (slice(None), None) if convolution.groups > 1 else (None, slice(None))
    inverse = (1.0 / scale.sd)[channels][..., None, None]
    bias = _bias(convolution) - (weight * inverse * scale.mean[channels][..., None, None]).sum(dim=(1, 2, 3))
    convolution.weight = nn.Parameter(weight * inverse)
    convolution.bias = nn.Parameter(bias)


def _fold_norms(block: nn.Sequential) -> None:
    """Fold each batch normalisation of a sequence into the convolution directly before it."""
    for number in range(len(block) - 1):
        convolution, norm = block[number], block[number + 1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            block[number], block[number + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


def _bias(convolution: nn.Conv2d) -> Tensor:
    return convolution.bias if convolution.bias is not None else convolution.weight.new_zeros(len(convolution.weight))


def _pointwise(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Return the 1x1 convolution with a matrix (out, in) as its weight."""
    # On the meta device no initial weights are drawn, so the caller's random state does not change.
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")
    convolution.weight = nn.Parameter(weight[:, :, None, None].clone())
    if bias is not None:
        convolution.bias = nn.Parameter(bias)
    return convolution
