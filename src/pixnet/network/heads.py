"""From the latent map to expression: its integral over regions, and the linear heads.

All heads compute `W (integral of D) + area * b`; the numbers mean different things.

- `mean`, `sum`: log-normalised expression, as in the paper. `sum` is exactly Eq. 9 (arXiv 2503.01347) and grows with
  the region; `mean` divides by the area.
- `rate`: expected counts. D, W and b are not negative, G is a density in counts per um^2, and one more output,
  `other`, holds the genes outside the panel together, so that regions have a total. All rows of W have the same sum and
  D is a density times the shares of programs, so a region's total, apart from b, is the integral of the density.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    import scipy.sparse

HeadKind = Literal["rate", "mean", "sum"]

# One unit of the density, as a share of the training regions' mean counts per um^2. Below one, so that the density
# starts too low and has to rise where there is much expression: it leaves the bend of its softplus, in which contrast
# would grow slower (benchmarks/notes/tried.md).
_UNIT = 0.5


class Head(nn.Module):
    """A linear head whose outputs have units: M genes and, for `rate`, all other genes together as the last output.

    Attributes
    ----------
    scale
        Size of one unit of each output, shape (M,): in counts per um^2 (`rate`), log-normalised units (`mean`), or
        log-normalised units per um^2 (`sum`). Set from the training data, so that all outputs start at a similar size.
    offset
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
        """Return the latent map D, computed from the decoder's output (T, C, h, w).

        The output is D itself for `mean` and `sum`. For `rate` it determines the shares of the programs, which add up
        to one, and `density`, shape (T, 1, h, w), is the amount of expression over all genes before its activation.
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
        """Return the expected counts (`rate`) or log-normalised expression of N regions, shape (N, M).

        `integral` is that of D over each region, (N, C) in latent units times um^2; `area` is valid area, (N,) in um^2.
        """
        weight, bias = self.linear()
        if self.kind == "mean":
            return (integral / area.unsqueeze(1)) @ weight + bias
        return integral @ weight + area.unsqueeze(1) * bias


def integrate(latent: Tensor, coverage: Tensor) -> Tensor:
    """Return the integral of a latent map over each region (Eq. 9 of arXiv 2503.01347v4); differentiable in the map.

    The head is linear, so integrating the latent channels and applying the head to the result is the same as
    integrating the map of every gene, at the cost of C channels rather than M genes.

    Parameters
    ----------
    latent
        The latent map D of each tile, shape (T, C, H, W).
    coverage
        Area of each pixel of the maps inside each region, sparse, in um^2, shape (N, T * H * W), tile after tile.

    Returns
    -------
    Tensor
        Integrals in latent units times um^2, shape (N, C).
    """
    pixels = latent.permute(0, 2, 3, 1).reshape(-1, latent.shape[1])
    # A sparse product in half precision would lose small areas; the sums are short, so float32 costs nothing.
    integral: Tensor = torch.sparse.mm(coverage, pixels.float())
    return integral


def to_torch(coverage: scipy.sparse.csr_array) -> Tensor:
    """Return a sparse matrix of areas as a torch tensor, float32 in CSR layout."""
    with warnings.catch_warnings():
        # torch warns once that its CSR layout is in beta, which a user who trains a model can do nothing about.
        warnings.filterwarnings("ignore", category=UserWarning, message="Sparse")
        return torch.sparse_csr_tensor(
            torch.from_numpy(coverage.indptr.astype(np.int64)),
            torch.from_numpy(coverage.indices.astype(np.int64)),
            torch.from_numpy(coverage.data.astype(np.float32)),
            size=coverage.shape,
            check_invariants=False,
        )
