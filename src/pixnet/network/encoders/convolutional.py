"""Convolutional encoders: the stages of a timm model are the levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from pixnet.errors import ModelError
from pixnet.network.encoders.base import Encoder
from pixnet.network.encoders.weights import create_timm, normalisation

if TYPE_CHECKING:
    from pixnet.network.config import EncoderConfig


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
        super().__init__(*normalisation(model))
        self.model = model
        self.has_pixels = config.finest == 1
        self.pitches = config.strides
        info = model.feature_info
        channels = tuple(info.channels())
        self.channels = (3, *channels) if self.has_pixels else channels
        self.phase = config.stride

    def forward(self, image: Tensor, rim: int = 0, origin: tuple[int, int] = (0, 0)) -> list[Tensor]:
        """Return the pyramid of an image of bytes (N, 3, H, W); the level at stride 1 is the image itself."""
        image = self.standardise(image)
        features: list[Tensor] = self.model(image)
        return [image, *features] if self.has_pixels else features
