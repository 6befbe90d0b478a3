"""Simple opponents that any method should beat: the training mean, and ridge regression on what a crop looks like.

Both have the same interface: `fit(samples, panel, min_counts, seed)` sees the training samples only, and
`predict(slide, centers_um)` gives log-normalised values, log(1 + counts per 10,000), at any points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import DataError, ModelError
from pixnet.evaluation.crops import BLOCKS, UM_PER_PX, crop_features
from pixnet.expression import correlation, enough_counts, normalise
from pixnet.panel import GenePanel, panel_counts

if TYPE_CHECKING:
    from pixnet.sample import Sample
    from pixnet.slide import Slide

PENALTIES = tuple(float(f"{10.0**power:.3g}") for power in np.arange(-1.0, 5.01, 0.25))
"""Penalties that ridge chooses from; 1 is the variance of all features of one group together."""

_FEWEST = 8  # regions that a penalty can be tuned on


class MeanBaseline:
    """Predicts the training mean of each gene everywhere: the error that knowing nothing of the image gives."""

    def __init__(self) -> None:
        self._mean: NDArray[np.float64] | None = None

    def fit(self, samples: Sequence[Sample], panel: GenePanel, min_counts: int = 500, seed: int = 0) -> Self:
        """Average the log-normalised values over all regions of at least `min_counts` counts; `seed` is not used.

        Raises
        ------
        DataError
            If no region has that many counts, or a sample lacks a gene of the panel.
        """
        self._mean = np.concatenate(_values(samples, panel, min_counts)).mean(axis=0)
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


class RidgeBaseline:
    """Ridge regression from frozen features and colour of a 112-um crop to the log-normalised values.

    The features (see `crop_features`) are standardised and each group of them, one for every stage of the default
    encoder and one for colour, is given the same weight. Means of whole samples are taken off both sides, so that
    the fit is to what differs within a sample. One penalty for all genes is the one of the highest mean correlation
    (PCC@M), averaged over folds that each leave one training sample out, or a quarter of the tissue where there is a
    single sample. Then all training samples are fitted with it.

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

    def __init__(self, um_per_px: float = UM_PER_PX) -> None:
        self.um_per_px = um_per_px
        self.penalty = float("nan")
        self.validation_scores: dict[float, float] = {}
        self._ridge: _Ridge | None = None

    def fit(self, samples: Sequence[Sample], panel: GenePanel, min_counts: int = 500, seed: int = 0) -> Self:
        """Tune the penalty inside the training samples, then fit all of them; nothing is random, `seed` is not used.

        Parameters
        ----------
        samples
            Training samples.
        panel
            Genes to predict.
        min_counts
            Regions with fewer counts over all genes are left out.

        Raises
        ------
        DataError
            If fewer than 8 regions have enough counts, or a sample lacks a gene of the panel.
        """
        values = _values(samples, panel, min_counts)
        owner = np.repeat(np.arange(len(samples)), [len(rows) for rows in values])
        if len(owner) < _FEWEST:
            raise DataError(
                f"{len(owner)} training regions have {min_counts} counts or more; ridge needs {_FEWEST}. "
                "Give more samples, or lower min_counts."
            )
        centers = [sample.regions.centers_um[enough_counts(sample, min_counts)] for sample in samples]
        features = []
        for sample, points in zip(samples, centers, strict=True):
            features.append(crop_features(sample.slide, points, um_per_px=self.um_per_px))
            sample.slide.close()  # an untiled image stays decoded in memory otherwise, one for each sample
        self._tune(np.concatenate(features), np.concatenate(values), owner, np.concatenate(centers))
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

    def _tune(
        self,
        features: NDArray[np.float32],
        values: NDArray[np.float64],
        owner: NDArray[np.int64],
        centers: NDArray[np.float64],
    ) -> None:
        fold = owner if len(np.unique(owner)) > 1 else _quarters(centers)
        scores = np.zeros(len(PENALTIES))
        parts = np.unique(fold)
        for part in parts:
            left_out = fold == part
            ridge = _Ridge(features[~left_out], values[~left_out], owner[~left_out])
            guesses = (ridge.predict(features[left_out], penalty) for penalty in PENALTIES)
            scores += [correlation(values[left_out], guess).mean() / len(parts) for guess in guesses]
        self.penalty = PENALTIES[int(np.argmax(scores))]
        self.validation_scores = {p: float(s) for p, s in zip(PENALTIES, scores, strict=True)}
        self._ridge = _Ridge(features, values, owner)


class _Ridge:
    """A ridge regression solved for any penalty at once, from the eigenvectors of the features' covariance."""

    def __init__(self, features: NDArray[np.float32], values: NDArray[np.float64], owner: NDArray[np.int64]) -> None:
        x = features.astype(np.float64)
        self._mean, self._level = x.mean(axis=0), values.mean(axis=0)
        spread = x.std(axis=0)
        # What hardly differs from its mean is float32's rounding; standardised, it would be noise of full size.
        usable = spread > 1e-5 * np.abs(self._mean)
        group = np.sqrt(np.repeat(BLOCKS, BLOCKS))
        self._scale = np.divide(1.0, spread * group, out=np.zeros_like(spread), where=usable)
        x = _within((x - self._mean) * self._scale, owner)
        self._eigenvalues, self._vectors = np.linalg.eigh(x.T @ x)
        self._projected = self._vectors.T @ (x.T @ _within(values, owner))

    def predict(self, features: NDArray[np.float32], penalty: float) -> NDArray[np.float64]:
        weights = self._vectors @ (self._projected / (np.maximum(self._eigenvalues, 0.0) + penalty)[:, None])
        result: NDArray[np.float64] = self._level + ((features - self._mean) * self._scale) @ weights
        return result


def _within(table: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take each sample's own mean off its rows."""
    result = table.copy()
    for one in np.unique(owner):
        result[owner == one] -= table[owner == one].mean(axis=0)
    return result


def _quarters(centers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut points (n, 2) into four spatial blocks of equal numbers: left and right, then each into top and bottom."""
    block = np.zeros(len(centers), np.int64)
    for side, half in enumerate(np.array_split(np.argsort(centers[:, 0], kind="stable"), 2)):
        lower = np.array_split(half[np.argsort(centers[half, 1], kind="stable")], 2)
        for end, rows in enumerate(lower):
            block[rows] = 2 * side + end
    return block


def _values(samples: Sequence[Sample], panel: GenePanel, min_counts: int) -> list[NDArray[np.float64]]:
    """Give each sample's log-normalised values (n, g) in the regions of enough counts."""
    tables = []
    for sample in samples:
        enough = enough_counts(sample, min_counts)
        tables.append(normalise(panel_counts(sample, panel)[enough], sample.depth[enough]).astype(np.float64))
    if not any(len(table) for table in tables):
        raise DataError(f"no region of {len(samples)} training samples has {min_counts} counts; lower min_counts.")
    return tables
