"""The recipe of HEST-bench: frozen pooled features, principal components, ridge with a fixed penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import ModelError
from pixnet.evaluation.baselines.base import training_rows
from pixnet.evaluation.baselines.crops import UM_PER_PX, pooled_features

if TYPE_CHECKING:
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide

COMPONENTS = 256
"""Principal components that are kept where there are that many training regions."""

_PCA_SEED = 1


class HestRidgeBaseline:
    """HEST-bench's regression on the default encoder (Jaume et al., HEST-1k, NeurIPS 2024).

    Kept: a 112-um crop at 0.5 um per pixel (224 px), the encoder's pooled embedding, standardised; 256 principal
    components (seed 1), fitted on training regions, fewer where there are fewer regions; ridge (lsqr) without
    intercept and with the fixed penalty 100 / (components * genes). Nothing is tuned, for nothing is there.

    Different: the encoder is this package's default, since the pathology encoders compared there are gated; genes are
    the panel's; and targets are log-normalised values, log(1 + counts per 10,000), where the benchmark takes the
    logarithm of raw counts, so that all methods here predict the same thing. The training mean is added: the
    components have mean zero over the training regions, so a fit without intercept is the same as one to centred
    values, but what it predicts has no level. The benchmark reports correlations alone, which the level does not
    touch; errors need it.

    Parameters
    ----------
    um_per_px
        Resolution at which crops are read.
    """

    METHOD_VERSION = 1

    def __init__(self, um_per_px: float = UM_PER_PX) -> None:
        self.um_per_px = um_per_px
        self._pipeline: Any = None
        self._level: NDArray[np.float64] = np.zeros(0)

    def fit(
        self,
        samples: Sequence[Sample],
        panel: GenePanel,
        min_counts: int = 500,
        seed: int = 0,
        *,
        density: bool = False,
    ) -> Self:
        """Fit all training samples; `seed` is not used, since the recipe has one of its own.

        Raises
        ------
        DataError
            If fewer than 8 regions have enough counts, or a sample lacks a gene of the panel.
        """
        from sklearn.decomposition import PCA
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows = training_rows(samples, panel, min_counts, "hest-ridge", density=density)
        features = rows.described(lambda slide, points: pooled_features(slide, points, um_per_px=self.um_per_px))
        components = min(COMPONENTS, len(features), features.shape[1])
        penalty = 100.0 / (components * rows.values.shape[1])
        self._pipeline = make_pipeline(
            StandardScaler(),
            PCA(components, random_state=_PCA_SEED),
            Ridge(alpha=penalty, solver="lsqr", fit_intercept=False, max_iter=1000),
        ).fit(features, rows.values)
        self._level = rows.values.mean(axis=0)
        return self

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Predict (n, g) log-normalised values from the crops centred on the points (n, 2).

        Raises
        ------
        ModelError
            Before `fit`.
        """
        if self._pipeline is None:
            raise ModelError("HestRidgeBaseline: call fit before predict.")
        features = pooled_features(slide, centers_um, um_per_px=self.um_per_px)
        if not len(features):
            return np.empty((0, len(self._level)), np.float32)
        return np.asarray(self._pipeline.predict(features) + self._level, np.float32)
