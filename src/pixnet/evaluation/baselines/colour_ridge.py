"""Ridge regression on the colour of a crop alone: how far one gets without seeing any shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import ModelError
from pixnet.evaluation.baselines.base import training_rows
from pixnet.evaluation.baselines.crops import BLOCKS, colour_features
from pixnet.evaluation.baselines.eigen_ridge import EigenRidge, penalty_scores

if TYPE_CHECKING:
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide

_GROUPS = BLOCKS[-1:]


class ColourRidgeBaseline:
    """Ridge regression from the colour statistics of a 112-um crop to the log-normalised values.

    The 60 features (see `colour_features`) know how much of which stain a crop holds, and nothing of shapes. The fit
    and the choice of its penalty are those of `RidgeBaseline`.

    Attributes
    ----------
    penalty : float
        The chosen penalty; NaN before `fit`.
    validation_scores : dict
        PCC@M inside training, for every penalty.
    """

    METHOD_VERSION = 1

    def __init__(self) -> None:
        self.penalty = float("nan")
        self.validation_scores: dict[float, float] = {}
        self._ridge: EigenRidge | None = None

    def fit(
        self,
        samples: Sequence[Sample],
        panel: GenePanel,
        min_counts: int = 500,
        seed: int = 0,
        *,
        density: bool = False,
    ) -> Self:
        """Tune the penalty inside the training samples, then fit all of them; nothing is random, `seed` is not used.

        Raises
        ------
        DataError
            If fewer than 8 regions have enough counts, or a sample lacks a gene of the panel.
        """
        rows = training_rows(samples, panel, min_counts, "colour-ridge", density=density)
        features = rows.described(colour_features)
        self.validation_scores = penalty_scores(features, rows, _GROUPS)
        self.penalty = max(self.validation_scores, key=lambda penalty: self.validation_scores[penalty])
        self._ridge = EigenRidge(features, rows.values, rows.owner, _GROUPS)
        return self

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Predict (n, g) log-normalised values from the colour of the crops centred on the points (n, 2).

        Raises
        ------
        ModelError
            Before `fit`.
        """
        if self._ridge is None:
            raise ModelError("ColourRidgeBaseline: call fit before predict.")
        return self._ridge.predict(colour_features(slide, centers_um), self.penalty).astype(np.float32)
