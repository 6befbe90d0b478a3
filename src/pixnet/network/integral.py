"""Read regions off a dense map: the paper's Eq. 9 with exact areas in place of pixel counts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import scipy.sparse


def integrate(latent: Tensor, coverage: Tensor) -> Tensor:
    """Integrate a latent map over regions; differentiable in the map.

    The head is linear, so integrating the latent channels and applying the head to the result is the same as
    integrating the map of every gene (arXiv 2503.01347v4, Eq. 9), at the cost of C channels, not M genes.

    Parameters
    ----------
    latent
        D, (T, C, H, W): one map for each tile.
    coverage
        Sparse (N, T * H * W): the area of each cell that lies in each region, in um^2, tiles one after the other.

    Returns
    -------
    Tensor
        (N, C), latent units times um^2.
    """
    cells = latent.permute(0, 2, 3, 1).reshape(-1, latent.shape[1])
    # A sparse product in half precision would lose small areas; the sums are short, so float32 costs nothing.
    integral: Tensor = torch.sparse.mm(coverage, cells.float())
    return integral


def to_torch(coverage: scipy.sparse.csr_array) -> Tensor:
    """Bring a sparse matrix of areas to torch, as float32 in CSR layout."""
    with warnings.catch_warnings():
        # torch announces once that its CSR layout is young; nobody who trains a model can do anything about it.
        warnings.filterwarnings("ignore", category=UserWarning, message="Sparse")
        return torch.sparse_csr_tensor(
            torch.from_numpy(coverage.indptr.astype(np.int64)),
            torch.from_numpy(coverage.indices.astype(np.int64)),
            torch.from_numpy(coverage.data.astype(np.float32)),
            size=coverage.shape,
            check_invariants=False,
        )
