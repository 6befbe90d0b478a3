"""The linear path: shares of programs as a linear map of the encoder's features, beside the decoder.

The decoder finds details that a linear map cannot, and a linear map carries over where a network has seen too little.
Their errors differ, so a mean of both has smaller ones than either.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixnet.network.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTHS_UM = (112.0, 224.0)  # of the squares that features are averaged over: a spot, and what is around it
_LEAST = 1e-6  # share of a program; keeps their sum above zero


class LinearPath(nn.Module):
    """Shares of the head's programs, linear in the features of all levels averaged over squares of two widths.

    The weights are not learned by gradient descent, but solved once the network is trained
    (`pixnet.training.linear_path`).

    Parameters
    ----------
    channels
        Channels of each level of the encoder.
    pitch
        Image pixels along a pixel of the deepest level's map, on which the features are averaged.
    mpp
        Working resolution, in um per pixel.
    programs
        Number of latent channels.

    Attributes
    ----------
    weight, bias
        The map, shapes (programs, widths * channels of all levels) and (programs,).
    share
        Share of this path in the programs of the latent map; 0 before it is solved.
    squares
        Makes the means over the squares.
    """

    weight: Tensor
    bias: Tensor
    share: Tensor

    def __init__(self, channels: Sequence[int], pitch: int, mpp: float, programs: int) -> None:
        super().__init__()
        self.pitch = pitch
        self.squares = Surroundings(_WIDTHS_UM, pitch * mpp, 1)
        self.register_buffer("weight", torch.zeros(programs, len(_WIDTHS_UM) * sum(channels)))
        self.register_buffer("bias", torch.zeros(programs))
        self.register_buffer("share", torch.zeros(()))

    def margin(self, stride: int) -> int:
        """Return the image pixels around a latent pixel of this stride whose features can influence its shares."""
        return self.squares.radius * self.pitch + math.ceil(1.5 * self.pitch - stride / 2)

    def solve(self, weight: Tensor, bias: Tensor, share: float) -> None:
        """Set the map, and its share in the programs."""
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        self.share.fill_(share)

    def logits(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the map of the programs, shape (T, programs, h, w) at the deepest pitch, before `shares`."""
        gathered = self.squares.gather([level.float() for level in levels])
        # Projected before they are averaged: there are many fewer programs than features.
        maps = self.weight.chunk(len(self.squares.widths), dim=1)
        projected = [F.conv2d(gathered, of_width[:, :, None, None]) for of_width in maps]
        means = (self.squares.mean(part, width) for part, width in zip(projected, self.squares.widths, strict=True))
        return sum(means, self.bias[:, None, None])

    @staticmethod
    def shares(logits: Tensor, dim: int = 1) -> Tensor:
        """Return the shares of the programs, which are not negative and add up to one along `dim`."""
        positive = logits.clamp(min=_LEAST)
        return positive / positive.sum(dim=dim, keepdim=True)

    @staticmethod
    def mixed(latent: Tensor, shares: Tensor, share: float | Tensor) -> Tensor:
        """Return a latent map, or its integrals, (N, programs, ...), a part of which the linear path has shared out.

        `shares` are those of its programs, and `share` is its own. How much there is over all programs stays as it is.
        """
        return torch.lerp(latent, latent.sum(dim=1, keepdim=True) * shares, share)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        # Models of earlier versions have no linear path: its share stays zero.
        if prefix + "share" in state:
            super()._load_from_state_dict(state, prefix, *others)
