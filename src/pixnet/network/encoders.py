"""From an image to a feature pyramid F_1 .. F_L, finest first.

Both kinds of encoder keep one promise: a feature depends on the image within a known distance and on the position
modulo a known phase, and on nothing else. So tiles cut on that phase, with a halo of that distance, have no seams.
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
    """What both kinds of encoder share.

    Attributes
    ----------
    strides : tuple of int
        Strides of the levels, in pixels, finest first.
    channels : tuple of int
        Channels of the levels.
    phase : int
        Tiles must start on multiples of this many pixels.
    window : int
        Side of the window that a feature can see, where the encoder works window by window; 0 where its receptive
        field follows from its layers.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    phase: int
    window: int = 0
    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Encoder:
        """Leave the encoder in evaluation mode: its batch normalisation always runs on stored statistics."""
        return super().train(False)

    def standardise(self, image: Tensor) -> Tensor:
        """Bring an image of bytes (N, 3, H, W) to the range that the encoder was trained on."""
        # In one pass, into one array: a tile of bytes is the smallest thing that prediction holds, this is not.
        return torch.addcmul(-self.mean / self.std, image.to(self.mean.dtype), 1.0 / (255.0 * self.std))


class ConvEncoder(Encoder):
    """A convolutional timm model, read off at its stages.

    Parameters
    ----------
    config
        Name, weights, finest and deepest stride.

    Raises
    ------
    ModelError
        If the model has no stage at one of the strides.
    """

    def __init__(self, config: EncoderConfig) -> None:
        # The strides are not known before the model is made, so it is asked for its stages first, without weights.
        info: Any = create_timm(config.name, "random", features_only=True, feature_cls="getter").feature_info
        by_stride = {reduction: index for index, reduction in enumerate(info.reduction())}
        wanted = [stride for stride in config.strides if stride > 1]
        if missing := [stride for stride in wanted if stride not in by_stride]:
            raise ModelError(
                f"encoder {config.name!r} has stages at strides {sorted(by_stride)}, none at {missing[0]}; "
                "set `finest` and `stride` in [network.encoder] to strides that it has."
            )
        levels = [by_stride[stride] for stride in wanted]
        # The getter, unlike timm's other feature extractors, drops every stage below the deepest that is asked for.
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
        """Give the pyramid of an image of bytes, (N, 3, H, W); at stride 1 the level is the image itself."""
        image = self.standardise(image)
        features: list[Tensor] = self.model(image)
        return [image, *features] if self.has_pixels else features


class ViTEncoder(Encoder):
    """A plain vision transformer, seen through windows of its native size that overlap by half.

    A transformer's tokens depend on its whole window. The windows therefore lie on a fixed lattice, half a window
    apart; each is resampled to the strides of the pyramid, and the overlapping windows are blended with weights that
    add up to one. What a point sees is thus a function of the slide alone, not of how it was cut into tiles.

    Parameters
    ----------
    config
        Name, weights, strides and blocks.
    """

    def __init__(self, config: EncoderConfig) -> None:
        model = create_timm(config.name, config.weights, num_classes=0)
        super().__init__(*_normalisation(model))
        self.model = model
        self.strides = config.strides
        depth, width = len(model.blocks), int(model.embed_dim)  # type: ignore[arg-type]
        levels = len(config.strides)
        # Early blocks hold fine detail, late ones meaning: the finest level takes the earliest block.
        self.blocks = config.blocks or tuple(round((level + 1) * depth / levels) - 1 for level in range(levels))
        ascending = list(self.blocks) == sorted(set(self.blocks))
        if len(self.blocks) != levels or not ascending or self.blocks[0] < 0 or self.blocks[-1] >= depth:
            raise ModelError(
                f"[network.encoder] blocks = {list(self.blocks)}: the pyramid has {levels} levels and encoder "
                f"{config.name!r} blocks 0 to {depth - 1}; give one block for each level, in ascending order."
            )
        self.channels = (width,) * levels
        side = model.patch_embed.img_size[0]  # type: ignore[union-attr,index]
        self.window = int(side)
        if self.window % 2 or (self.window // 2) % config.stride:
            raise ModelError(
                f"encoder {config.name!r} sees windows of {self.window} px, and half of that is no multiple of the "
                f"deepest stride; set [network.encoder] stride to a divisor, not {config.stride}."
            )
        self.phase = self.window // 2

    def forward(self, image: Tensor) -> list[Tensor]:
        """Give the pyramid of an image of bytes, (N, 3, H, W), H and W multiples of the phase."""
        image, step = self.standardise(image), self.phase
        n, _, height, width = image.shape
        # A window before and after, so that the outermost points have their share of windows too.
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
        """Resample the windows' tokens (N * windows, C, h, w) to a stride and blend them into one map."""
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
    """Give what was read of a slide, (H, W, 3), as an encoder takes it, (3, H, W)."""
    return torch.from_numpy(rgb).permute(2, 0, 1)


def make_encoder(config: EncoderConfig) -> Encoder:
    """Make the encoder that a configuration asks for.

    Raises
    ------
    ModelError
        If timm has no such model, its weights cannot be had, or it cannot give the asked strides.
    """
    import timm

    name = config.name
    plain = name.startswith("hf-hub:") or timm.is_model(name)
    if not plain:
        raise ModelError(f"encoder {name!r} is not known to timm; `pixnet encoders` lists what can be used.")
    # Whether a model is a transformer shows only when it is made; made without weights this costs no download
    # for timm's own names, and for a hub's name the small configuration file.
    with torch.device("meta"):
        probe = create_timm(name, "random")
    if hasattr(probe, "blocks") and hasattr(probe, "patch_embed") and hasattr(probe, "pos_embed"):
        return ViTEncoder(config).eval()
    return ConvEncoder(config).eval()


def _normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read the mean and standard deviation that a timm model expects, for values in 0..1."""
    settings: Any = getattr(model, "model", model).pretrained_cfg
    half = (0.5, 0.5, 0.5)
    return tuple(settings.get("mean") or half), tuple(settings.get("std") or half)
