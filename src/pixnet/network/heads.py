"""The linear heads: from integrals of the latent map to expression.

Both compute `W (integral of D) + area * b`; they differ in what the numbers mean.

- `mean`, `sum`: log-normalised expression, as in the paper. `sum` is Eq. 9 to the letter and grows with the region;
  `mean` divides by the area.
- `rate`: expected counts. D, W and b are not negative, G is a density in counts per um^2, and one more output,
  `other`, carries the genes outside the panel, so that a region's total exists. All rows of W have the same sum and D
  is a density times shares of programs, so a region's total is, but for b, the integral of the density.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HeadKind = Literal["rate", "mean", "sum"]

# What one unit of the density stands for, as a share of the training regions' mean counts per um^2. Below one, so that
# it starts too low and has to rise where there is much: out of the bend of its softplus, in which contrast would grow
# slower (docs/tried.md).
_UNIT = 0.5


class Head(nn.Module):
    """A linear head with units.

    Parameters
    ----------
    kind
        `"rate"`, `"mean"` or `"sum"`.
    channels
        Latent channels C.
    outputs
        Outputs M: genes, and for `rate` the pooled rest as the last one.

    Attributes
    ----------
    scale : Tensor
        (M,), what one unit of an output stands for: counts per um^2 (`rate`), log-normalised units (`mean`), or
        log-normalised units per um^2 (`sum`). Set from the training data, so that all outputs start at a like size.
    offset : Tensor
        (M,), the outputs' values for a latent map of zeros at the start of training, in the same units.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, kind: HeadKind, channels: int, outputs: int) -> None:
        super().__init__()
        self.kind: HeadKind = kind
        self.loadings = nn.Parameter(torch.empty(channels, outputs))
        self.baseline = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("scale", torch.ones(outputs))
        self.register_buffer("offset", torch.zeros(outputs))
        nn.init.normal_(self.loadings, std=channels**-0.5)

    def activate(self, decoded: Tensor, density: Tensor | None = None) -> Tensor:
        """Turn the decoder's output into the latent map D.

        Parameters
        ----------
        decoded
            (T, C, h, w). `mean` and `sum` take it as it is; for `rate` it tells the shares of programs, which add up
            to one.
        density
            (T, 1, h, w), for `rate`: how much there is at a place, whatever it is of.
        """
        if density is None:
            return decoded
        programs = F.softplus(decoded) + 1e-6  # so that there are shares where all programs are next to nothing
        return programs * (F.softplus(density) / programs.sum(dim=1, keepdim=True))

    def linear(self) -> tuple[Tensor, Tensor]:
        """Give W (C, M) and b (M,) of `G = D W + b`, in the units of the output."""
        if self.kind == "rate":
            # All programs make equally many counts of one unit, so what they are shared among is all that they tell.
            profiles = self.scale * F.softplus(self.loadings)
            weight = profiles * (_UNIT * self.scale.sum() / profiles.sum(dim=1, keepdim=True))
            return weight, self.scale * F.softplus(self.baseline) * 0.1
        return self.scale * self.loadings, self.offset + self.scale * self.baseline

    def forward(self, integral: Tensor, area: Tensor) -> Tensor:
        """Give the expression of regions.

        Parameters
        ----------
        integral
            (N, C), the integral of D over each region, latent units times um^2.
        area
            (N,), the valid area of each region, in um^2.

        Returns
        -------
        Tensor
            (N, M): expected counts (`rate`), or log-normalised expression (`mean`, `sum`).
        """
        weight, bias = self.linear()
        if self.kind == "mean":
            return (integral / area.unsqueeze(1)) @ weight + bias
        return integral @ weight + area.unsqueeze(1) * bias
