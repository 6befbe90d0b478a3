"""Encoders: from an image to a feature pyramid F_1 .. F_L, finest first.

In both kinds of encoder, a feature depends only on the image within a known distance and on the position modulo a known
phase. So tiles that start on that phase and have a halo of that width have no seams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pixnet.errors import ModelError
from pixnet.network.weights import create_timm

if TYPE_CHECKING:
    from pixnet.network.config import EncoderConfig


class Encoder(nn.Module):
    """Base class of both kinds of encoder."""

    strides: tuple[int, ...]  # of the levels, in pixels, finest first
    channels: tuple[int, ...]  # of the levels
    phase: int  # pixels; tiles must start on multiples of it
    window: int = 0  # side in pixels of the window that a feature depends on; 0 where that is up to the layers
    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Encoder:
        """Leave the encoder in evaluation mode: its batch normalisation always uses stored statistics."""
        return super().train(False)

    def standardise(self, image: Tensor) -> Tensor:
        """Return an image of bytes (N, 3, H, W) in the range of values that the encoder was trained on."""
        # In one pass, into one array: as floats a tile takes four times the memory of its bytes.
        return torch.addcmul(-self.mean / self.std, image.to(self.mean.dtype), 1.0 / (255.0 * self.std))


class ConvEncoder(Encoder):
    """A convolutional timm model whose stages are the levels."""

    def __init__(self, config: EncoderConfig) -> None:
        # The strides are known only once the model is made, so it is first made without weights.
        info: Any = create_timm(config.name, "random", features_only=True, feature_cls="getter").feature_info
        by_stride = {reduction: index for index, reduction in enumerate(info.reduction())}
        wanted = [stride for stride in config.strides if stride > 1]
        if missing := [stride for stride in wanted if stride not in by_stride]:
            raise ModelError(
                f"encoder {config.name!r} has stages at strides {sorted(by_stride)}, none at {missing[0]}; "
                "set `finest` and `stride` in [network.encoder] to strides that it has."
            )
        levels = [by_stride[stride] for stride in wanted]
        # Unlike timm's other feature extractors, the getter drops all stages deeper than the last requested one.
        model = create_timm(config.name, config.weights, features_only=True, feature_cls="getter", out_indices=levels)
        super().__init__(*_normalisation(model))
        self.model = model
        self.has_pixels = config.finest == 1
        self.strides = config.strides
        info = model.feature_info
        channels = tuple(info.channels())
        self.channels = (3, *channels) if self.has_pixels else channels
        self.phase = config.stride

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the pyramid of an image of bytes (N, 3, H, W); the level at stride 1 is the image itself."""
        image = self.standardise(image)
        features: list[Tensor] = self.model(image)
        return [image, *features] if self.has_pixels else features


class ViTEncoder(Encoder):
    """A plain vision transformer that works on windows of its native size, which overlap by half.

    A transformer's tokens depend on their complete window. The windows are therefore on a fixed lattice, half a window
    apart. The tokens of each are resampled to the strides of the pyramid, and overlapping windows are blended with
    weights that add up to one. So a feature depends on the slide alone, not on how it was cut into tiles.
    """

    def __init__(self, config: EncoderConfig) -> None:
        model = create_timm(config.name, config.weights, num_classes=0)
        super().__init__(*_normalisation(model))
        self.model = model
        self.strides = config.strides
        depth, width = len(model.blocks), int(model.embed_dim)  # type: ignore[arg-type]
        levels = len(config.strides)
        # Early blocks hold fine detail, late ones tissue context: the finest level takes the earliest block.
        self.blocks = config.blocks or tuple(round((level + 1) * depth / levels) - 1 for level in range(levels))
        ascending = list(self.blocks) == sorted(set(self.blocks))
        if len(self.blocks) != levels or not ascending or self.blocks[0] < 0 or self.blocks[-1] >= depth:
            raise ModelError(
                f"[network.encoder] blocks = {list(self.blocks)}: the pyramid has {levels} levels and encoder "
                f"{config.name!r} has blocks 0 to {depth - 1}; give one block for each level, in ascending order."
            )
        self.channels = (width,) * levels
        side = model.patch_embed.img_size[0]  # type: ignore[union-attr,index]
        self.window = int(side)
        if self.window % 2 or (self.window // 2) % config.stride:
            raise ModelError(
                f"encoder {config.name!r} works on windows of {self.window} px, and half of that is not a multiple of "
                f"the deepest stride, {config.stride}; set `stride` in [network.encoder] to a divisor of it."
            )
        self.phase = self.window // 2

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the pyramid of an image of bytes (N, 3, H, W), where H and W are multiples of the phase."""
        image, step = self.standardise(image), self.phase
        n, _, height, width = image.shape
        # Half a window more on each side, so that pixels at the edge are covered by as many windows as all others.
        padded = F.pad(image, (step, step, step, step), mode="replicate")
        windows = F.unfold(padded, self.window, stride=step).transpose(1, 2)
        count = windows.shape[1]
        windows = windows.reshape(n * count, 3, self.window, self.window)
        tokens = self.model.forward_intermediates(  # type: ignore[operator]
            windows, indices=list(self.blocks), intermediates_only=True, norm=True
        )
        padded_size = (height + 2 * step, width + 2 * step)
        return [self._blend(level, stride, n, padded_size) for level, stride in zip(tokens, self.strides, strict=True)]

    def _blend(self, tokens: Tensor, stride: int, n: int, padded_size: tuple[int, int]) -> Tensor:
        """Resample the tokens of all windows (N * windows, C, h, w) to a stride and blend them into one map."""
        side, step = self.window // stride, self.phase // stride
        level = F.interpolate(tokens, size=(side, side), mode="bilinear", align_corners=False)
        ramp = (torch.arange(side, device=level.device, dtype=level.dtype) + 0.5) / step
        weight = torch.minimum(ramp, 2.0 - ramp)  # a triangle: two of them half a window apart add up to one
        level = level * weight.view(1, 1, -1, 1) * weight.view(1, 1, 1, -1)
        channels = level.shape[1]
        columns = level.reshape(n, -1, channels * side * side).transpose(1, 2)
        size = (padded_size[0] // stride, padded_size[1] // stride)
        return F.fold(columns, size, side, stride=step)[:, :, step:-step, step:-step]


def as_image(rgb: NDArray[np.uint8]) -> Tensor:
    """Return the image of a slide (H, W, 3) in the layout of an encoder's input, (3, H, W)."""
    return torch.from_numpy(rgb).permute(2, 0, 1)


def make_encoder(config: EncoderConfig) -> Encoder:
    """Return the encoder of a configuration, in evaluation mode."""
    import timm

    name = config.name
    if not name.startswith("hf-hub:") and not timm.is_model(name):
        raise ModelError(f"encoder {name!r} is not known to timm; `pixnet encoders` lists what can be used.")
    # Only the model itself shows whether it is a transformer. Making it without weights downloads nothing for timm's
    # own names, and only the small configuration file for a name on the hub.
    with torch.device("meta"):
        probe = create_timm(name, "random")
    if hasattr(probe, "blocks") and hasattr(probe, "patch_embed") and hasattr(probe, "pos_embed"):
        return ViTEncoder(config).eval()
    return ConvEncoder(config).eval()


def _normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of a timm model's input, for values in 0..1."""
    settings: Any = getattr(model, "model", model).pretrained_cfg
    half = (0.5, 0.5, 0.5)
    return tuple(settings.get("mean") or half), tuple(settings.get("std") or half)
