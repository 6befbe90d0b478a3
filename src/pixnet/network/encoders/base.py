"""What both kinds of encoder have in common.

In both, a feature depends only on the image within a known distance and on its place on the slide's lattice of pixels.
So tiles that start on multiples of a known phase and have a halo of that width have no seams.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Encoder(nn.Module):
    """Base class of both kinds of encoder.

    Its `forward` maps an image of bytes (N, 3, H, W) to a list of maps, one for each level, finest first. `rim` is the
    number of pixels along the edges whose features are not needed; they may be left at zero. `origin` is the row and
    column of the first pixel of all N images on the slide's lattice, multiples of the phase.
    """

    pitches: tuple[int, ...]  # image pixels along a pixel of each level's map, finest level first
    channels: tuple[int, ...]  # of the maps
    phase: int  # image pixels; tiles must start on multiples of it
    window: int = 0  # side in image pixels of the window that a feature depends on; 0 where that is up to the layers
    reach: int | None = None  # image pixels around a feature that can influence it, once they are known
    sha256: str | None = None  # hash of frozen weights, once it is known
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


def as_image(rgb: NDArray[np.uint8]) -> Tensor:
    """Return the image of a slide (H, W, 3) in the layout of an encoder's input, (3, H, W)."""
    return torch.from_numpy(rgb).permute(2, 0, 1)
