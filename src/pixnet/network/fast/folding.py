"""The decoder, folded for prediction: the same numbers from fewer passes over its maps.

The finest levels are large and their convolutions small, so the decoder's time goes into reading and writing maps. What
is linear is therefore joined: a standardisation with the convolution after it, a batch normalisation with the one
before it, and of SAFB everything from its normalisation to query, key and value.
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
    """Give a copy of a trained decoder that computes the same in evaluation mode.

    Only near the edge of the crops' maps, in the margin that no wanted cell depends on, do the numbers differ: what a
    convolution finds beyond a map is there the mean of the training tiles or 0.
    """
    result = copy.deepcopy(decoder).eval()
    for module in list(result.modules()):
        if isinstance(module, nn.Sequential):
            _fold_norms(module)
    # The row reading sees the maps to their very edges.
    sees_edges = any(isinstance(fuse, SAFB) and fuse.attention == "row" for fuse in result.fuse)
    for level, readers in enumerate(_readers(result)):
        if readers and not sees_edges:
            scale = cast(Standardise, result.scale[level])
            for convolution in readers:
                _standardise_first(convolution, scale)
            result.scale[level] = _AsItIs()
    for number, fuse in enumerate(result.fuse):
        if isinstance(fuse, SAFB) and fuse.attention == "channel":
            result.fuse[number] = FoldedSAFB(fuse)
    return result.requires_grad_(False).to(memory_format=torch.channels_last)


class FoldedSAFB(nn.Module):
    """SAFB with its channel attention, and all that is linear in it as two convolutions: of F' before BN, and of U.

    For prediction alone: it writes into its own maps.

    Parameters
    ----------
    block
        What is folded, in evaluation mode.
    """

    def __init__(self, block: SAFB) -> None:
        super().__init__()
        self.depthwise, self.mix, self.mix_norm = block.depthwise, block.mix, block.mix_norm
        latent, qkv = (convolution.weight[:, :, 0, 0] for convolution in (block.latent, block.qkv))
        qkv_bias, latent_bias = _bias(block.qkv), _bias(block.latent)
        channels = len(latent)
        # The softmax takes Q K over beta.
        factor = torch.ones(3 * channels)
        factor[:channels] = 1.0 / math.sqrt(channels)
        together = factor[:, None].to(qkv) * (qkv @ latent)
        gain, shift = _gain_and_shift(block.norm)
        refined, upsampled = together[:, :-channels], together[:, -channels:]
        bias = factor.to(qkv) * (qkv @ latent_bias + qkv_bias) + refined @ shift
        self.from_refined = _pointwise(refined * gain, bias)
        self.from_upsampled = _pointwise(upsampled, None)

    def forward(self, feature: Tensor, upsampled: Tensor) -> Tensor:
        """Give D (N, C, H, W) from F (N, C_F, H, W) and U (N, C, H, W)."""
        local = self.depthwise(feature)
        refined = F.silu(self.mix_norm(self.mix(F.silu(local))).add_(local), inplace=True)
        query, key, value = self.from_refined(refined).add_(self.from_upsampled(upsampled)).chunk(3, dim=1)
        return attend_over_channels(query * key, value).add_(upsampled)


class _AsItIs(nn.Module):
    """Stands where a standardisation was."""

    def forward(self, feature: Tensor, dropout: float = 0.0) -> Tensor:
        return feature


def _readers(decoder: Decoder) -> Iterable[list[nn.Conv2d]]:
    """Give the convolutions that read each level, finest first; none where something else reads it too."""
    # The fusions are listed in the order of work, from the deepest.
    first = [fuse.depthwise if isinstance(fuse, SAFB) else None for fuse in reversed(decoder.fuse)]
    for level, convolution in enumerate((*first, decoder.deepest[0])):
        beside = [decoder.skip, decoder.density and decoder.density.fine]
        projections = [
            cast(nn.Sequential, part.levels[level])[0] for part in beside if part and level < len(part.levels)
        ]
        readers = (convolution, *projections)
        yield [cast(nn.Conv2d, reader) for reader in readers] if convolution is not None else []


def _standardise_first(convolution: nn.Conv2d, scale: Standardise) -> None:
    """Let a convolution standardise what it reads."""
    weight = convolution.weight
    each = (slice(None), None) if convolution.groups > 1 else (None, slice(None))  # depthwise: its one input is its own
    inverse = (1.0 / scale.sd)[each][..., None, None]
    bias = _bias(convolution) - (weight * inverse * scale.mean[each][..., None, None]).sum(dim=(1, 2, 3))
    convolution.weight = nn.Parameter(weight * inverse)
    convolution.bias = nn.Parameter(bias)


def _fold_norms(block: nn.Sequential) -> None:
    """Fold each batch normalisation of a sequence into the convolution right before it."""
    for number in range(len(block) - 1):
        convolution, norm = block[number], block[number + 1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            block[number], block[number + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


def _gain_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Give the factor and the summand of each channel that a batch normalisation comes to."""
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight / torch.sqrt(variance + norm.eps)
    return gain, norm.bias - mean * gain


def _bias(convolution: nn.Conv2d) -> Tensor:
    return convolution.bias if convolution.bias is not None else convolution.weight.new_zeros(len(convolution.weight))


def _pointwise(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Make a 1x1 convolution of a matrix (out, in)."""
    # On no device, for its first weights are drawn from the state that is the caller's.
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")
    convolution.weight = nn.Parameter(weight[:, :, None, None].clone())
    if bias is not None:
        convolution.bias = nn.Parameter(bias)
    return convolution
