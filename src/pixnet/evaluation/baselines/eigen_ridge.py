"""Ridge regression solved for every penalty at once, and the choice of the penalty inside the training samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixnet.evaluation.baselines.inner_folds import inner_scores
from pixnet.evaluation.baselines.standardise import Standardiser

if TYPE_CHECKING:
    from pixnet.evaluation.baselines.base import TrainingRows

PENALTIES = tuple(float(f"{10.0**power:.3g}") for power in np.arange(-1.0, 5.01, 0.25))
"""Penalties that ridge chooses from; 1 is the variance of all features of one group together."""


class EigenRidge:
    """A ridge regression solved for any penalty at once, from the eigenvectors of the features' covariance.

    Means of whole samples are taken off both sides, so that the fit is to what differs within a sample.

    Parameters
    ----------
    features
        (n, f) of the training regions.
    values
        (n, g) to fit.
    owner
        (n,) sample of each region.
    groups
        Sizes of the groups of features that are given the same weight.
    """

    def __init__(
        self,
        features: NDArray[np.float32],
        values: NDArray[np.float64],
        owner: NDArray[np.int64],
        groups: Sequence[int],
    ) -> None:
        self._level = values.mean(axis=0)
        self._standardise = Standardiser(features, groups)
        x = _within(self._standardise(features.astype(np.float64)), owner)
        self._eigenvalues, self._vectors = np.linalg.eigh(x.T @ x)
        self._projected = self._vectors.T @ (x.T @ _within(values, owner))

    def predict(self, features: NDArray[np.float32], penalty: float) -> NDArray[np.float64]:
        """Give (n, g) values for the features (n, f), fitted with one of any penalties."""
        weights = self._vectors @ (self._projected / (np.maximum(self._eigenvalues, 0.0) + penalty)[:, None])
        result: NDArray[np.float64] = self._level + self._standardise(features) @ weights
        return result


def penalty_scores(features: NDArray[np.float32], rows: TrainingRows, groups: Sequence[int]) -> dict[float, float]:
    """Give the PCC@M inside the training samples for each of `PENALTIES`."""

    def guesses(left_out: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
        ridge = EigenRidge(features[~left_out], rows.values[~left_out], rows.owner[~left_out], groups)
        for penalty in PENALTIES:
            yield ridge.predict(features[left_out], penalty)

    return {p: float(s) for p, s in zip(PENALTIES, inner_scores(rows, guesses), strict=True)}


def _within(table: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take each sample's own mean off its rows."""
    result = table.copy()
    for one in np.unique(owner):
        result[owner == one] -= table[owner == one].mean(axis=0)
    return result
