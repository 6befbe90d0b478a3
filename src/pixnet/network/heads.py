"""The linear heads: from integrals of the latent map to expression.

All heads compute `W (integral of D) + area * b`; the numbers mean different things.

- `mean`, `sum`: log-normalised expression, as in the paper. `sum` is exactly Eq. 9 (arXiv 2503.01347) and grows with
  the region; `mean` divides by the area.
- `rate`: expected counts. D, W and b are not negative, G is a density in counts per um^2, and one more output,
  `other`, holds the genes outside the panel together, so that regions have a total. All rows of W have the same sum and
  D is a density times the shares of programs, so a region's total, apart from b, is the integral of the density.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HeadKind = Literal["rate", "mean", "sum"]

# One unit of the density, as a share of the training regions' mean counts per um^2. Below one, so that the density
# starts too low and has to rise where there is much expression: it leaves the bend of its softplus, in which contrast
# would grow slower (docs/tried.md).
_UNIT = 0.5


class Head(nn.Module):
    """A linear head whose outputs have units.

    Parameters
    ----------
    kind
        `"rate"`, `"mean"` or `"sum"`.
    channels
        Number of latent channels C.
    outputs
        Number of outputs M: the genes and, for `rate`, all other genes together as the last one.

    Attributes
    ----------
    scale : Tensor
        Size of one unit of each output, shape (M,): in counts per um^2 (`rate`), log-normalised units (`mean`), or
        log-normalised units per um^2 (`sum`). Set from the training data, so that all outputs start at a similar size.
    offset : Tensor
        Value of each output for a latent map of zeros at the start of training, in the same units, shape (M,).
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
        """Return the latent map D, computed from the decoder's output.

        Parameters
        ----------
        decoded
            Output of the decoder, shape (T, C, h, w). It is D itself for `mean` and `sum`; for `rate` it determines the
            shares of the programs, which add up to one.
        density
            Amount of expression over all genes, for `rate`, before its activation, shape (T, 1, h, w).
        """
        if density is None:
            return decoded
        programs = F.softplus(decoded) + 1e-6  # keeps the shares defined where all programs are almost zero
        return programs * (F.softplus(density) / programs.sum(dim=1, keepdim=True))

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return W (C, M) and b (M,) of `G = D W + b`, in the units of the output."""
        if self.kind == "rate":
            # One unit of any program makes the same number of counts, so programs only decide the shares of genes.
            profiles = self.scale * F.softplus(self.loadings)
            weight = profiles * (_UNIT * self.scale.sum() / profiles.sum(dim=1, keepdim=True))
            return weight, self.scale * F.softplus(self.baseline) * 0.1
        return self.scale * self.loadings, self.offset + self.scale * self.baseline

    def forward(self, integral: Tensor, area: Tensor) -> Tensor:
        """Return the expression of regions.

        Parameters
        ----------
        integral
            Integral of D over each region, in latent units times um^2, shape (N, C).
        area
            Valid area of each region, in um^2, shape (N,).

        Returns
        -------
        Tensor
            Expected counts (`rate`) or log-normalised expression (`mean`, `sum`), shape (N, M).
        """
        weight, bias = self.linear()
        if self.kind == "mean":
            return (integral / area.unsqueeze(1)) @ weight + bias
        return integral @ weight + area.unsqueeze(1) * bias
