"""Inverted residual blocks, computed strip by strip: the same numbers in less time and a fraction of the memory.

Such a block widens its input to several times its channels, filters each channel, and narrows the result. On a large
tile the widened map is by far the largest array of the network, and reading and writing it takes longer than the
arithmetic. A strip of a few rows at a time stays in the processor's cache. The first block is joined with the stem
before it, whose map is as large, and with the conversion of bytes to floats.
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
    from collections.abc import Callable

    from pixnet.network.encoders.base import Encoder

_STRIP_VALUES = 1 << 21  # values in the widened map of a strip of one image: 8 MB
_TRIAL_ROWS = (1, 3)  # rows of a strip during the trial: one; several, the last strip shorter
_TOLERANCE = 1e-4  # of the largest value of a level


def stripwise(encoder: Encoder) -> Encoder:
    """Return a trained encoder that computes its inverted residual blocks strip by strip; it is a copy.

    An encoder without such blocks is returned as it is. So is one whose blocks do more than this module knows of: the
    outputs are compared on a small image, in strips of so few rows that every block is cut. Where only the stem does
    more, the stem is left unchanged.
    """
    if not any(isinstance(module, DepthwiseSeparableConv | InvertedResidual) for module in encoder.modules()):
        return encoder
    for change in (_with_stem_in_strips, _with_blocks_in_strips):
        result = change(encoder)
        if _agree(encoder, result):
            return result
    return encoder


def _with_blocks_in_strips(encoder: Encoder) -> Encoder:
    result = copy.deepcopy(encoder).eval()
    blocks = [
        (name, module)
        for name, module in result.named_modules()
        if type(module) in (DepthwiseSeparableConv, InvertedResidual) and _is_plain(module)
    ]
    for name, block in blocks:
        parent, _, leaf = name.rpartition(".")
        setattr(result.get_submodule(parent), leaf, Stripwise(block))
    return result


def _with_stem_in_strips(original: Encoder) -> Encoder:
    """Return a copy with its blocks computed in strips, the first one of an EfficientNet joined with the stem."""
    encoder = _with_blocks_in_strips(original)
    net: Any = getattr(encoder.model, "model", None)
    first = next(iter(net.blocks[0]), None) if hasattr(net, "conv_stem") and hasattr(net, "blocks") else None
    if not isinstance(first, Stripwise) or first.adds_input or getattr(encoder, "has_pixels", False):
        return encoder
    standardise = encoder.standardise
    # timm calls the stem, its norm and the blocks in turn; the joined block takes the place of the stem.
    first.before = Stem(standardise, net.conv_stem, net.bn1)
    net.conv_stem = first
    net.bn1 = nn.Identity()
    net.blocks[0][0] = nn.Identity()
    encoder.__dict__["standardise"] = _unchanged
    return encoder


def _unchanged(image: Tensor) -> Tensor:
    return image


class Stem:
    """The first convolution of an encoder, applied to an image of bytes that `standardise` converts to floats."""

    def __init__(self, standardise: Callable[[Tensor], Tensor], conv: nn.Conv2d, norm: Any) -> None:
        self.standardise = standardise
        self.folded = _ConvNorm(conv, norm)

    def shape(self, image: Tensor) -> tuple[int, int]:
        """Return the height and width of the convolution's output."""
        height, width = (_padding(self.folded.conv, side)[0] for side in image.shape[-2:])
        return height, width

    def rows(self, image: Tensor, start: int, end: int) -> Tensor:
        """Return the rows `start` to `end` of the convolution's output."""
        conv, height = self.folded.conv, image.shape[-2]
        kernel, step, top = conv.kernel_size[0], conv.stride[0], _padding(conv, height)[1]
        _, left, right = _padding(conv, image.shape[-1])
        first, last = start * step - top, (end - 1) * step + kernel - top
        strip = self.standardise(image[:, :, max(first, 0) : min(last, height)])
        folded: Tensor = self.folded(F.pad(strip, (left, right, max(-first, 0), max(last - height, 0))))
        return folded


class Stripwise(nn.Module):
    """A `DepthwiseSeparableConv` or `InvertedResidual` of timm, with its batch normalisations in its convolutions."""

    before: Stem | None = None  # computes the block's input from an image
    rows_at_once: int | None = None  # rows of the output per strip; None: as many as keep its widened map small

    def __init__(self, block: Any) -> None:
        super().__init__()
        if isinstance(block, InvertedResidual):
            self.widen: nn.Module = _ConvNorm(block.conv_pw, block.bn1)
            self.filter = _ConvNorm(block.conv_dw, block.bn2)
            self.narrow = _ConvNorm(block.conv_pwl, block.bn3)
        else:
            self.widen = nn.Identity()
            self.filter = _ConvNorm(block.conv_dw, block.bn1)
            self.narrow = _ConvNorm(block.conv_pw, block.bn2)
        self.adds_input = bool(block.has_skip)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (N, C', H', W') for an input (N, C, H, W)."""
        conv = self.filter.conv
        kernel, step = conv.kernel_size[0], conv.stride[0]
        height, width = self.before.shape(x) if self.before else x.shape[-2:]
        rows, top, _ = _padding(conv, height)
        cols, left, right = _padding(conv, width)
        out = x.new_empty((len(x), self.narrow.conv.out_channels, rows, cols), dtype=conv.weight.dtype)
        out = out.contiguous(memory_format=torch.channels_last)
        at_once = self.rows_at_once or max(1, _STRIP_VALUES // (conv.in_channels * width * step))
        for start in range(0, rows, at_once):
            end = min(start + at_once, rows)
            first, last = start * step - top, (end - 1) * step + kernel - top
            top_row, end_row = max(first, 0), min(last, height)
            strip = self.widen(self.before.rows(x, top_row, end_row) if self.before else x[:, :, top_row:end_row])
            # Padding costs a copy, so the convolution itself pads columns where both sides need the same number.
            columns = left if left == right else 0
            above, below = max(-first, 0), max(last - height, 0)
            if above or below or left != right:
                strip = F.pad(strip, (left - columns, right - columns, above, below))
            out[:, :, start:end] = self.narrow(self.filter(strip, columns))
        return out.add_(x) if self.adds_input else out


class _ConvNorm(nn.Module):
    """A convolution with its batch normalisation folded in, then the activation; it pads columns only."""

    def __init__(self, conv: nn.Conv2d, norm: Any) -> None:
        super().__init__()
        self.conv = fuse_conv_bn_eval(conv, norm)
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor, columns: int = 0) -> Tensor:
        conv = self.conv
        padding = (0, columns)
        result: Tensor = self.act(F.conv2d(x, conv.weight, conv.bias, conv.stride, padding, groups=conv.groups))
        return result


def _padding(conv: nn.Conv2d, side: int) -> tuple[int, int, int]:
    """Return the length of a convolution's output along one axis, and its padding before and after."""
    kernel, step = conv.kernel_size[0], conv.stride[0]
    if isinstance(conv, Conv2dSame):
        length = -(-side // step)
        pad = max((length - 1) * step + kernel - side, 0)
        return length, pad // 2, pad - pad // 2
    pad = int(conv.padding[0])
    return (side + 2 * pad - kernel) // step + 1, pad, pad


def _is_plain(block: Any) -> bool:
    """Return whether a block has no squeeze-and-excitation, dilation or other parts between its convolutions."""
    square = block.conv_dw.kernel_size[0] == block.conv_dw.kernel_size[1] and block.conv_dw.dilation == (1, 1)
    return square and isinstance(getattr(block, "se", None) or nn.Identity(), nn.Identity)


@torch.inference_mode()
def _agree(encoder: Encoder, changed: Encoder) -> bool:
    """Return whether two encoders give the same levels for a small random image, with strips of few rows."""
    size = (11 * encoder.phase, 6 * encoder.phase)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, *size), generator=generator, dtype=torch.uint8).to(encoder.mean.device)
    blocks = [module for module in changed.modules() if isinstance(module, Stripwise)]
    expected = encoder(image)
    agree = True
    for rows in _TRIAL_ROWS:
        for block in blocks:
            block.rows_at_once = rows
        levels = changed(image)
        agree = agree and all(
            level.shape == wanted.shape and bool((wanted - level).abs().max() <= _TOLERANCE * wanted.abs().max())
            for wanted, level in zip(expected, levels, strict=True)
        )
    for block in blocks:
        block.rows_at_once = None
    return agree
