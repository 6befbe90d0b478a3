"""Eq. 9 of arXiv 2503.01347, the integral of a dense map over regions, with exact areas in place of pixel counts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import scipy.sparse


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
