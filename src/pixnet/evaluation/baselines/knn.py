"""Retrieval: the average of the training regions that look most similar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.evaluation.baselines.base import Baseline, Mask, Standardiser, TrainingRows, best, inner_scores
from pixnet.evaluation.baselines.crops import BLOCKS, UM_PER_PX, crop_features

if TYPE_CHECKING:
    from pixnet.slide import Slide

NEIGHBOURS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200)
"""Numbers of neighbours to choose from. A number above that of the training regions stands for all of them."""

SPACES = ("standardised", "whitened-16", "whitened-64")
"""Spaces in which the cosine is taken: all features, or that many principal components, each of variance one."""

_POINTS_AT_ONCE = 4096


class KnnBaseline(Baseline):
    """The retrieval step of BLEEP (Xie et al., NeurIPS 2023) on frozen features.

    Kept: the prediction at a place is the average of the values measured in the k training regions that are nearest by
    cosine.

    Different: BLEEP searches in a space that it learns by contrasting crops with expression. Here the space is that of
    the frozen features of `RidgeBaseline` (equal groups), which shows what retrieval alone is worth. k and the space
    are those with the highest mean correlation inside the training samples, by the folds of `RidgeBaseline`.

    Parameters
    ----------
    um_per_px
        Resolution of the crops in um per pixel.
    neighbours
        Numbers of neighbours to choose `k` from. The `space` is chosen from `SPACES`.
    """

    name = "knn"
    METHOD_VERSION = 1
    random = False

    def __init__(self, um_per_px: float = UM_PER_PX, neighbours: Sequence[int] = NEIGHBOURS) -> None:
        self.um_per_px = um_per_px
        self.neighbours = tuple(neighbours)
        self.k: int | None = None
        self.space: str | None = None
        self.validation_scores: dict[tuple[str, int], float] = {}

    def _features(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float32]:
        return crop_features(slide, centers_um, um_per_px=self.um_per_px)

    def _fit(self, rows: TrainingRows, seed: int) -> None:
        features = rows.described(self._features)

        def predictions(left_out: Mask) -> Iterator[NDArray[np.float64]]:
            for space in SPACES:
                retrieval = _Retrieval(features[~left_out], rows.values[~left_out], space)
                yield from retrieval.averages(features[left_out], self.neighbours)

        choices = [(space, k) for space in SPACES for k in self.neighbours]
        self.validation_scores = inner_scores(rows, choices, predictions)
        self.space, k = best(self.validation_scores)
        self.k = k
        self._chosen = [k]
        self._retrieval = _Retrieval(features, rows.values, self.space)

    def _predict(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float64]:
        features = self._features(slide, centers_um)
        starts = range(0, max(1, len(features)), _POINTS_AT_ONCE)
        parts = (self._retrieval.averages(features[start : start + _POINTS_AT_ONCE], self._chosen) for start in starts)
        return np.concatenate([next(part) for part in parts])


class _Retrieval:
    """Training regions with features (n, f) and log-normalised values (n, g) as unit vectors of one of `SPACES`."""

    def __init__(self, features: NDArray[np.float32], values: NDArray[np.float64], space: str) -> None:
        self._values = values
        self._standardise = Standardiser(features, BLOCKS)
        self._whiten: NDArray[np.float64] | None = None
        if space != "standardised":
            self._whiten = _whitening(self._standardise(features), int(space.rpartition("-")[2]))
        self._units = self._unit_vectors(features)

    def _unit_vectors(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        x = self._standardise(features)
        if self._whiten is not None:
            x = x @ self._whiten
        units: NDArray[np.float64] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return units

    def averages(self, features: NDArray[np.float32], numbers: Sequence[int]) -> Iterator[NDArray[np.float64]]:
        """Yield, for each number of neighbours, the average values (m, g) of the nearest regions to features (m, f)."""
        # Of two regions that are equally near, the first one counts as nearer: the same result on every machine.
        nearest = np.argsort(-(self._unit_vectors(features) @ self._units.T), axis=1, kind="stable")
        for k in numbers:
            chosen = nearest[:, :k]
            weights = np.full(chosen.size, 1.0 / max(1, chosen.shape[1]))
            starts = np.arange(len(chosen) + 1) * chosen.shape[1]
            shares = sparse.csr_array((weights, chosen.ravel(), starts), shape=(len(chosen), len(self._values)))
            yield np.asarray(shares @ self._values, np.float64)


def _whitening(x: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    """Return the matrix (f, c) that maps centred rows (n, f) to principal components of variance one."""
    _, singular, axes = np.linalg.svd(x, full_matrices=False)
    # A component without variance is rounding; whitening would enlarge it to full size.
    usable = min(components, int((singular > 1e-6 * singular[0]).sum()))
    result: NDArray[np.float64] = axes[:usable].T * (np.sqrt(len(x)) / singular[:usable])
    return result
