"""What the genes of a spot tell together: the components of expression that stand above the counting noise."""

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
        (k,) numbers of the genes that have a part in them: those that all samples were measured for and that vary.
    sd
        (k,) standard deviation of each within samples, by which the genes are brought to one scale.
    basis
        (c, k) orthonormal.
    """

    genes: NDArray[np.int64]
    sd: NDArray[np.float64]
    basis: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.basis)

    def project(self, values: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float32]:
        """Give log-normalised values (n, genes) projected around their sample's mean (genes,)."""
        result = values.copy()
        centre = mean[self.genes]
        scaled = (values[:, self.genes] - centre) / self.sd
        result[:, self.genes] = centre + scaled @ self.basis.T @ self.basis * self.sd
        return result
