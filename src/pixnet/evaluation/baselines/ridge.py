"""Baselines that are linear in frozen features: the mean, ridge on colour, tuned ridge, and HEST-bench's ridge."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pixnet.evaluation.baselines.base import Baseline, Mask, Standardiser, TrainingRows, best, inner_scores
from pixnet.evaluation.baselines.crops import BLOCKS, UM_PER_PX, colour_features, crop_features, pooled_features

if TYPE_CHECKING:
    from pixnet.slide import Slide

PENALTIES = tuple(float(f"{10.0**power:.3g}") for power in np.arange(-1.0, 5.01, 0.25))
"""Penalties that ridge chooses from; 1 is the variance of all features of one group together."""

COMPONENTS = 256
"""Principal components of `HestRidgeBaseline`, where there are that many training regions."""

_PCA_SEED = 1


class MeanBaseline(Baseline):
    """Predicts the training mean of each gene everywhere: the error of knowing nothing about the image."""

    name = "mean"
    METHOD_VERSION = 1
    random = False
    least_regions = 1

    def _fit(self, rows: TrainingRows, seed: int) -> None:
        self._mean = rows.values.mean(axis=0)

    def _predict(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.tile(self._mean.astype(np.float32), (len(centers_um), 1))


class _TunedRidge(Baseline):
    """Ridge regression with a penalty that is chosen inside the training samples."""

    random = False
    groups: ClassVar[Sequence[int]]  # sizes of the groups of features that are given the same weight

    def __init__(self) -> None:
        self.penalty = float("nan")
        self.validation_scores: dict[float, float] = {}

    @abstractmethod
    def _features(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float32]:
        """Describe the crops around points."""

    def _fit(self, rows: TrainingRows, seed: int) -> None:
        features = rows.described(self._features)

        def predictions(left_out: Mask) -> Iterator[NDArray[np.float64]]:
            ridge = EigenRidge(features[~left_out], rows.values[~left_out], rows.owner[~left_out], self.groups)
            for penalty in PENALTIES:
                yield ridge.predict(features[left_out], penalty)

        self.validation_scores = inner_scores(rows, PENALTIES, predictions)
        self.penalty = best(self.validation_scores)
        self._ridge = EigenRidge(features, rows.values, rows.owner, self.groups)

    def _predict(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._ridge.predict(self._features(slide, centers_um), self.penalty)


class ColourRidgeBaseline(_TunedRidge):
    """Ridge regression from the colour statistics of a 112-um crop to the log-normalised values.

    The 60 features (see `colour_features`) describe how much of which stain a crop holds, and nothing of shapes. The
    fit and the choice of its penalty are those of `RidgeBaseline`.
    """

    name = "colour-ridge"
    METHOD_VERSION = 1
    groups = BLOCKS[-1:]

    def _features(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float32]:
        return colour_features(slide, centers_um)


class RidgeBaseline(_TunedRidge):
    """Ridge regression from frozen features and colour of a 112-um crop to the log-normalised values.

    The features (see `crop_features`) are standardised. Each group of them, one for every stage of the default encoder
    and one for colour, is given the same weight. The mean of each sample is subtracted on both sides, so that the fit
    is to what differs within a sample. All genes share one penalty: the one with the highest mean correlation (PCC@M),
    averaged over the folds of `inner_folds`, which leave one donor out at a time where there are several. Then all
    training samples are fitted with it.

    The features were chosen on Her2ST C2 to C5 (250 genes), each held out in turn, by that score inside training:
    pooled 1280 channels 0.249, means of five stages 0.290, both 0.272; with colour 0.266, 0.295, 0.279; colour 0.268;
    means and deviations with colour 0.296, with equal groups 0.302, and within samples, as here, 0.303. At 1 um per
    pixel the score is 0.298, at a quarter of the work; the average over four turns of the crop has 0.305, at four times
    the work.
    """

    name = "ridge"
    METHOD_VERSION = 1
    groups = BLOCKS

    def __init__(self, um_per_px: float = UM_PER_PX) -> None:
        self.um_per_px = um_per_px
        super().__init__()

    def _features(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float32]:
        return crop_features(slide, centers_um, um_per_px=self.um_per_px)


class HestRidgeBaseline(Baseline):
    """HEST-bench's regression on the default encoder (Jaume et al., HEST-1k, NeurIPS 2024).

    Kept: a 112-um crop at 0.5 um per pixel (224 px); the encoder's pooled embedding, standardised; 256 principal
    components (seed 1), fitted on training regions, fewer where there are fewer regions; ridge (lsqr) without intercept
    and with the fixed penalty 100 / (components * genes). Nothing is tuned, since the recipe leaves nothing to tune.

    Different: the encoder is this package's default, since the pathology encoders compared there are gated. Genes are
    the panel's. Targets are log-normalised values, log(1 + counts per 10,000), where the benchmark takes the logarithm
    of raw counts, so that all methods here predict the same thing. The training mean is added: the components have mean
    zero over the training regions, so a fit without intercept is the same as a fit to centred values, but its
    predictions have no level. The benchmark reports correlations alone, which do not depend on the level; errors need
    it.
    """

    name = "hest-ridge"
    METHOD_VERSION = 1
    random = False  # the recipe has a seed of its own

    def __init__(self, um_per_px: float = UM_PER_PX) -> None:
        self.um_per_px = um_per_px

    def _features(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float32]:
        return pooled_features(slide, centers_um, um_per_px=self.um_per_px)

    def _fit(self, rows: TrainingRows, seed: int) -> None:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        features = rows.described(self._features)
        components = min(COMPONENTS, len(features), features.shape[1])
        penalty = 100.0 / (components * rows.values.shape[1])
        self._pipeline: Any = make_pipeline(
            StandardScaler(),
            PCA(components, random_state=_PCA_SEED),
            Ridge(alpha=penalty, solver="lsqr", fit_intercept=False, max_iter=1000),
        ).fit(features, rows.values)
        self._mean = rows.values.mean(axis=0)

    def _predict(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.floating]:
        features = self._features(slide, centers_um)
        if not len(features):  # scikit-learn refuses an empty table
            return np.empty((0, len(self._mean)))
        result: NDArray[np.floating] = self._pipeline.predict(features) + self._mean
        return result


class EigenRidge:
    """A ridge regression from features (n, f) to values (n, g), solved for any penalty at once.

    It uses the eigenvectors of the features' covariance. The mean of each sample is subtracted on both sides, so that
    the fit is to what differs within a sample; `owner` is the index of the sample of each region, shape (n,).
    """

    def __init__(
        self,
        features: NDArray[np.float32],
        values: NDArray[np.float64],
        owner: NDArray[np.int64],
        groups: Sequence[int],
    ) -> None:
        self._mean = values.mean(axis=0)
        self._standardise = Standardiser(features, groups)
        x = _within_samples(self._standardise(features.astype(np.float64)), owner)
        self._eigenvalues, self._vectors = np.linalg.eigh(x.T @ x)
        self._projected = self._vectors.T @ (x.T @ _within_samples(values, owner))

    def predict(self, features: NDArray[np.float32], penalty: float) -> NDArray[np.float64]:
        """Predict the values (n, g) of features (n, f) by the fit with this penalty."""
        weights = self._vectors @ (self._projected / (np.maximum(self._eigenvalues, 0.0) + penalty)[:, None])
        result: NDArray[np.float64] = self._mean + self._standardise(features) @ weights
        return result


def _within_samples(table: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Subtract from the rows of each sample their mean."""
    result = table.copy()
    for sample in np.unique(owner):
        result[owner == sample] -= table[owner == sample].mean(axis=0)
    return result
