"""The error that knowing nothing of the image gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import ModelError
from pixnet.evaluation.baselines.base import training_rows

if TYPE_CHECKING:
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide


class MeanBaseline:
    """Predicts the training mean of each gene everywhere: the error that knowing nothing of the image gives."""

    METHOD_VERSION = 1

    def __init__(self) -> None:
        self._mean: NDArray[np.float64] | None = None

    def fit(
        self,
        samples: Sequence[Sample],
        panel: GenePanel,
        min_counts: int = 500,
        seed: int = 0,
        *,
        density: bool = False,
    ) -> Self:
        """Average the log-normalised values over all regions of at least `min_counts` counts; `seed` is not used.

        Raises
        ------
        DataError
            If no region has that many counts, or a sample lacks a gene of the panel.
        """
        self._mean = training_rows(samples, panel, min_counts, "the mean", density=density, fewest=1).values.mean(
            axis=0
        )
        return self

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Give the same values (n, g) for each of the points (n, 2).

        Raises
        ------
        ModelError
            Before `fit`.
        """
        if self._mean is None:
            raise ModelError("MeanBaseline: call fit before predict.")
        return np.tile(self._mean.astype(np.float32), (len(np.asarray(centers_um)), 1))
