"""Components of expression: directions in which the genes of a region vary together by more than counting noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Components:
    """Directions in which log-normalised expression varies from region to region by more than chance.

    A gene's value in one region is mostly counting noise; the genes of a region together are not. So training may
    learn from the values' projection onto the directions that repeat between two halves of the counts.

    Attributes
    ----------
    genes
        Column numbers of the genes in the components, shape (k,): those measured in all samples that also vary.
    sd
        Standard deviation of each of these genes within samples, shape (k,); divides them to one scale.
    basis
        Orthonormal directions, shape (c, k).
    """

    genes: NDArray[np.int64]
    sd: NDArray[np.float64]
    basis: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.basis)

    def project(self, values: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return log-normalised values projected onto the components.

        Parameters
        ----------
        values
            Log-normalised values, shape (n, genes); genes without a part in the components are returned as they are.
        mean
            Mean of each gene in the sample, shape (genes,), around which the values are projected.
        """
        result = values.copy()
        centre = mean[self.genes]
        scaled = (values[:, self.genes] - centre) / self.sd
        result[:, self.genes] = centre + scaled @ self.basis.T @ self.basis * self.sd
        return result
