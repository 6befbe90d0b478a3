"""The default encoder as its own classifier uses it: one vector for a whole crop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pixnet.network.weights import DEFAULT_ENCODER, create_timm


class PooledEncoder(nn.Module):
    """The default encoder with its ImageNet weights, its last convolution and its pooling; no classifier.

    Attributes
    ----------
    channels : int
        Length of the vector.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        model: Any = create_timm(DEFAULT_ENCODER, "imagenet", num_classes=0)
        self.model = model
        self.channels = int(model.num_features)
        for name in ("mean", "std"):
            values = torch.tensor(model.pretrained_cfg[name]).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Give the vectors (N, channels) of crops of bytes (N, 3, H, W)."""
        vectors: Tensor = self.model((image.float() / 255.0 - self.mean) / self.std)
        return vectors
