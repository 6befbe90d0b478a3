"""The receptive field of an encoder, computed from its layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from pixnet.errors import ModelError
from pixnet.grid import round_up

if TYPE_CHECKING:
    from pixnet.network.encoders.base import Encoder

# Layers that mix all positions: the edges of a tile would change all of its features.
_GLOBAL = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.InstanceNorm2d, nn.GroupNorm)
_GLOBAL_NAMES = ("SqueezeExcite", "SEModule", "EcaModule", "CbamModule", "GatherExcite", "GlobalContext")
_EXAMPLES = "tf_efficientnet_lite0, resnet18 or convnext_tiny"


def reach_of(encoder: Encoder) -> int:
    """Return how many image pixels around a feature can influence it: a window, or as far as the layers see."""
    if encoder.reach is None:
        encoder.reach = encoder.window or receptive_radius(encoder)
    return encoder.reach


def receptive_radius(encoder: Encoder) -> int:
    """Return the distance, in pixels, beyond which the image cannot influence an encoder's features.

    Every layer with a kernel adds half its width times its stride. Parallel layers count as if they followed each
    other, so this is an upper bound, tight for plain chains. A layer that sees the complete tile at once
    (squeeze-and-excitation, instance or group normalisation) raises ModelError.
    """
    radius = 0.0
    side = 4 * max(encoder.pitches) * 2

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: object) -> None:
        nonlocal radius
        kernel = getattr(module, "kernel_size", None)
        if kernel is None or inputs[0].dim() != 4:
            return
        width = kernel[0] if isinstance(kernel, tuple) else kernel
        dilation = getattr(module, "dilation", 1)
        reach = (width - 1) * (dilation[0] if isinstance(dilation, tuple) else dilation)
        # `SAME` padding adds the odd pixel after the kernel, so the longer side counts.
        radius += -(-reach // 2) * side / inputs[0].shape[-1]

    hooks = []
    for name, module in encoder.named_modules():
        kind = type(module).__name__
        if isinstance(module, _GLOBAL) or any(name in kind for name in (*_GLOBAL_NAMES, "GlobalResponseNorm")):
            raise ModelError(
                f"encoder layer {name!r} ({kind}) averages over the whole tile, so the map would depend on how the "
                f"slide is cut; choose an encoder without such layers, for example {_EXAMPLES}."
            )
        hooks.append(module.register_forward_hook(note))
    try:
        with torch.inference_mode():
            encoder(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    finally:
        for hook in hooks:
            hook.remove()
    if not any(value.is_meta for value in encoder.parameters()):  # it has no values to change
        _check_by_change(encoder, round_up(math.ceil(radius), max(encoder.pitches)))
    return math.ceil(radius)


def _check_by_change(encoder: Encoder, reach: int) -> None:
    """Check that a change of everything beyond the reach changes no feature: a list of layer names may miss some."""
    stride = max(encoder.pitches)
    side = 2 * reach + 4 * stride
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 256, (1, 3, side, side), generator=generator, dtype=torch.uint8)
    # The second has a black rim, one pixel of the deepest level wide, `reach` away from the two pixels in the middle.
    second = torch.zeros_like(first)
    second[:, :, stride:-stride, stride:-stride] = first[:, :, stride:-stride, stride:-stride]
    middle = slice(reach // stride + 1, reach // stride + 3)
    with torch.inference_mode():
        plain, rimmed = (encoder(image)[-1][..., middle, middle] for image in (first, second))
    if not torch.equal(plain, rimmed):
        raise ModelError(
            "this encoder sees further than its layers show (attention or pooling over the whole tile), so the map "
            f"would depend on how the slide is cut; choose another, for example {_EXAMPLES}."
        )
