"""Ridge regression on frozen features of the encoder and colour, with a tuned penalty: the baseline to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import ModelError
from pixnet.evaluation.baselines.base import training_rows
from pixnet.evaluation.baselines.crops import BLOCKS, UM_PER_PX, crop_features
from pixnet.evaluation.baselines.eigen_ridge import EigenRidge, penalty_scores

if TYPE_CHECKING:
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide


class RidgeBaseline:
    """Ridge regression from frozen features and colour of a 112-um crop to the log-normalised values.

    The features (see `crop_features`) are standardised and each group of them, one for every stage of the default
    encoder and one for colour, is given the same weight. Means of whole samples are taken off both sides, so that
    the fit is to what differs within a sample. One penalty for all genes is the one of the highest mean correlation
    (PCC@M), averaged over the folds of `inner_folds`, which each leave one donor out where there are several. Then
    all training samples are fitted with it.

    Features were chosen on Her2ST C2 to C5 (250 genes), each held out in turn, by that score inside training:
    pooled 1280 channels 0.249, means of five stages 0.290, both 0.272; with colour 0.266, 0.295, 0.279; colour 0.268;
    means and deviations with colour 0.296, with equal groups 0.302, and within samples, as here, 0.303. At 1 um per
    pixel this gives 0.298, at a quarter of the work; averaging four turns of the crop 0.305, at four times the work.

    Parameters
    ----------
    um_per_px
        Resolution at which crops are read.

    Attributes
    ----------
    penalty : float
        The chosen penalty; NaN before `fit`.
    validation_scores : dict
        PCC@M inside training, for every penalty.
    """

    METHOD_VERSION = 1

    def __init__(self, um_per_px: float = UM_PER_PX) -> None:
        self.um_per_px = um_per_px
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

        Parameters
        ----------
        samples
            Training samples.
        panel
            Genes to predict.
        min_counts
            Regions with fewer counts over all genes are left out.
        density
            See `Baseline.fit`.

        Raises
        ------
        DataError
            If fewer than 8 regions have enough counts, or a sample lacks a gene of the panel.
        """
        rows = training_rows(samples, panel, min_counts, "ridge", density=density)
        features = rows.described(lambda slide, points: crop_features(slide, points, um_per_px=self.um_per_px))
        self.validation_scores = penalty_scores(features, rows, BLOCKS)
        self.penalty = max(self.validation_scores, key=lambda penalty: self.validation_scores[penalty])
        self._ridge = EigenRidge(features, rows.values, rows.owner, BLOCKS)
        return self

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Predict from the crops centred on some points.

        Parameters
        ----------
        slide
            Any slide.
        centers_um
            (n, 2), x and y.

        Returns
        -------
        array
            (n, g) log-normalised values.

        Raises
        ------
        ModelError
            Before `fit`.
        """
        if self._ridge is None:
            raise ModelError("RidgeBaseline: call fit before predict.")
        features = crop_features(slide, centers_um, um_per_px=self.um_per_px)
        return self._ridge.predict(features, self.penalty).astype(np.float32)
