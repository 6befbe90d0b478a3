"""How far a network sees: counted from its layers, not guessed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from pixnet.errors import ModelError
from pixnet.grid import round_up

if TYPE_CHECKING:
    from pixnet.network.encoders import Encoder

# Layers that mix all positions; a tile's cut would show in every one of its features.
_GLOBAL = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.InstanceNorm2d, nn.GroupNorm)
_GLOBAL_NAMES = ("SqueezeExcite", "SEModule", "EcaModule", "CbamModule", "GatherExcite", "GlobalContext")


def receptive_radius(encoder: Encoder) -> int:
    """Give the distance, in pixels, beyond which the image cannot influence an encoder's features.

    Every layer with a kernel adds its half width times the stride at which it works. Layers that lie side by side are
    counted as if they followed each other, so this is an upper bound, tight for plain chains.

    Raises
    ------
    ModelError
        If a layer sees the whole tile at once (squeeze-and-excitation, instance or group normalisation).
    """
    radius = 0.0
    side = 4 * max(encoder.strides) * 2

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: object) -> None:
        nonlocal radius
        kernel = getattr(module, "kernel_size", None)
        if kernel is None or inputs[0].dim() != 4:
            return
        width = kernel[0] if isinstance(kernel, tuple) else kernel
        dilation = getattr(module, "dilation", 1)
        reach = (width - 1) * (dilation[0] if isinstance(dilation, tuple) else dilation)
        # `SAME` padding puts the odd pixel after the kernel: the longer side counts.
        radius += -(-reach // 2) * side / inputs[0].shape[-1]

    hooks = []
    for name, module in encoder.named_modules():
        kind = type(module).__name__
        if isinstance(module, _GLOBAL) or any(name in kind for name in (*_GLOBAL_NAMES, "GlobalResponseNorm")):
            raise ModelError(
                f"encoder layer {name!r} ({kind}) averages over the whole tile, so the map would depend on how the "
                "slide is cut; choose an encoder without it, such as tf_efficientnet_lite0, resnet or convnext."
            )
        hooks.append(module.register_forward_hook(note))
    try:
        with torch.inference_mode():
            encoder(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    finally:
        for hook in hooks:
            hook.remove()
    _try_out(encoder, round_up(math.ceil(radius), max(encoder.strides)))
    return math.ceil(radius)


def _try_out(encoder: Encoder, reach: int) -> None:
    """Change everything beyond the reach and see that nothing follows: no list of layer names is ever complete."""
    stride = max(encoder.strides)
    side = 2 * reach + 4 * stride
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 256, (1, 3, side, side), generator=generator, dtype=torch.uint8)
    # The second has a black rim, one deep cell wide; the two deep cells in the middle lie `reach` from it.
    second = torch.zeros_like(first)
    second[:, :, stride:-stride, stride:-stride] = first[:, :, stride:-stride, stride:-stride]
    cell = reach // stride + 1
    with torch.inference_mode():
        one, other = (encoder(image)[-1][..., cell : cell + 2, cell : cell + 2] for image in (first, second))
    if not torch.equal(one, other):
        raise ModelError(
            "this encoder sees further than its layers tell (attention or pooling over the whole tile), so the map "
            "would depend on how the slide is cut; choose another, such as tf_efficientnet_lite0, resnet or convnext."
        )
