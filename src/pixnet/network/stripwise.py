"""Inverted residual blocks, computed strip by strip: the same numbers in less time and a fraction of the memory.

Such a block widens its input to several times its channels, filters each channel, and narrows the result. On a large
tile the widened map is by far the largest array of the whole network, and reading and writing it takes longer than the
arithmetic. A strip of a few rows at a time never leaves the processor's cache.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from pixnet.network.encoders import Encoder

_CELLS = 1 << 15  # input cells of a strip
_AGREES = 1e-4  # of the largest value of a level


def stripwise(encoder: Encoder) -> Encoder:
    """Give a copy of a trained encoder that computes its inverted residual blocks strip by strip.

    Encoders without such blocks are copied as they are. So are those whose blocks turn out to do more than is known
    here: what comes out is compared on a small image.
    """
    result = copy.deepcopy(encoder).eval()
    blocks = [
        (name, module)
        for name, module in result.named_modules()
        if type(module) in (DepthwiseSeparableConv, InvertedResidual) and _is_plain(module)
    ]
    for name, block in blocks:
        parent, _, leaf = name.rpartition(".")
        setattr(result.get_submodule(parent), leaf, Stripwise(block))
    return result if _alike(encoder, result) else copy.deepcopy(encoder).eval()


class Stripwise(nn.Module):
    """One block, with each batch normalisation folded into the convolution before it.

    Parameters
    ----------
    block
        A `DepthwiseSeparableConv` or an `InvertedResidual` of timm, in evaluation mode.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        if isinstance(block, InvertedResidual):
            self.widen: nn.Module = _Folded(block.conv_pw, block.bn1)
            self.filter = _Folded(block.conv_dw, block.bn2)
            self.narrow = _Folded(block.conv_pwl, block.bn3)
        else:
            self.widen = nn.Identity()
            self.filter = _Folded(block.conv_dw, block.bn1)
            self.narrow = _Folded(block.conv_pw, block.bn2)
        self.adds_input = bool(block.has_skip)

    def forward(self, x: Tensor) -> Tensor:
        """Give the block's output (N, C', H', W') for (N, C, H, W)."""
        conv = self.filter.conv
        kernel, step = conv.kernel_size[0], conv.stride[0]
        height, width = x.shape[-2:]
        rows, top, _ = _padding(conv, height)
        cols, left, right = _padding(conv, width)
        out = x.new_empty((len(x), self.narrow.conv.out_channels, rows, cols))
        out = out.contiguous(memory_format=torch.channels_last)
        at_once = max(1, _CELLS // (cols * step))
        for start in range(0, rows, at_once):
            end = min(start + at_once, rows)
            first, last = start * step - top, (end - 1) * step + kernel - top
            strip = self.widen(x[:, :, max(first, 0) : min(last, height)])
            strip = F.pad(strip, (left, right, max(-first, 0), max(last - height, 0)))
            out[:, :, start:end] = self.narrow(self.filter(strip))
        return out.add_(x) if self.adds_input else out


class _Folded(nn.Module):
    """A convolution that carries its batch normalisation, then the activation; padding is the caller's."""

    def __init__(self, conv: nn.Conv2d, norm: Any) -> None:
        super().__init__()
        self.conv = fuse_conv_bn_eval(conv, norm)
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        result: Tensor = self.act(F.conv2d(x, conv.weight, conv.bias, conv.stride, groups=conv.groups))
        return result


def _padding(conv: nn.Conv2d, side: int) -> tuple[int, int, int]:
    """Give the length of a convolution's output along one axis, and what it pads before and after."""
    kernel, step = conv.kernel_size[0], conv.stride[0]
    if isinstance(conv, Conv2dSame):
        length = -(-side // step)
        pad = max((length - 1) * step + kernel - side, 0)
        return length, pad // 2, pad - pad // 2
    pad = int(conv.padding[0])
    return (side + 2 * pad - kernel) // step + 1, pad, pad


def _is_plain(block: Any) -> bool:
    """Whether a block has no squeeze-and-excitation, dilation or other parts between its convolutions."""
    square = block.conv_dw.kernel_size[0] == block.conv_dw.kernel_size[1] and block.conv_dw.dilation == (1, 1)
    return square and isinstance(getattr(block, "se", None) or nn.Identity(), nn.Identity)


@torch.inference_mode()
def _alike(encoder: Encoder, other: Encoder) -> bool:
    side = 4 * encoder.phase
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, side, side), generator=generator, dtype=torch.uint8).to(encoder.mean.device)
    return all(
        one.shape == two.shape and bool((one - two).abs().max() <= _AGREES * one.abs().max())
        for one, two in zip(encoder(image), other(image), strict=True)
    )
