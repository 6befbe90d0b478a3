"""Retrieval: the average of the training regions that look most alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.errors import ModelError
from pixnet.evaluation.baselines.base import training_rows
from pixnet.evaluation.baselines.crops import BLOCKS, UM_PER_PX, crop_features
from pixnet.evaluation.baselines.inner_folds import inner_scores
from pixnet.evaluation.baselines.standardise import Standardiser

if TYPE_CHECKING:
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide

NEIGHBOURS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200)
"""Numbers of neighbours that are chosen from, as far as there are that many training regions."""

SPACES = ("standardised", "whitened-16", "whitened-64")
"""Spaces in which the cosine is taken: all features, or that many principal components, each of variance one."""

_AT_ONCE = 4096  # points whose neighbours are looked for together


class KnnBaseline:
    """The retrieval step of BLEEP (Xie et al., NeurIPS 2023) on frozen features.

    Kept: a place is given the average of the values measured in the k training regions that are nearest by cosine.
    Different: BLEEP looks in a space that it learns by contrast of crops and expression; here the space is that of
    the frozen features of `RidgeBaseline` (equal groups), so that what retrieval itself is worth shows. k and the
    space are those of the highest mean correlation inside the training samples, by the folds of `RidgeBaseline`.

    Parameters
    ----------
    um_per_px
        Resolution at which crops are read.
    neighbours
        Numbers of neighbours to choose from.

    Attributes
    ----------
    k : int or None
        The chosen number of neighbours; None before `fit`.
    space : str or None
        The chosen one of `SPACES`; None before `fit`.
    validation_scores : dict
        PCC@M inside training, for every (space, k).
    """

    METHOD_VERSION = 1

    def __init__(self, um_per_px: float = UM_PER_PX, neighbours: Sequence[int] = NEIGHBOURS) -> None:
        self.um_per_px = um_per_px
        self.neighbours = tuple(neighbours)
        self.k: int | None = None
        self.space: str | None = None
        self.validation_scores: dict[tuple[str, int], float] = {}
        self._retrieval: _Retrieval | None = None

    def fit(
        self,
        samples: Sequence[Sample],
        panel: GenePanel,
        min_counts: int = 500,
        seed: int = 0,
        *,
        density: bool = False,
    ) -> Self:
        """Choose space and k inside the training samples; nothing is random, `seed` is not used.

        Raises
        ------
        DataError
            If fewer than 8 regions have enough counts, or a sample lacks a gene of the panel.
        """
        rows = training_rows(samples, panel, min_counts, "knn", density=density)
        features = rows.described(lambda slide, points: crop_features(slide, points, um_per_px=self.um_per_px))
        choices = [(space, k) for space in SPACES for k in self.neighbours]

        def guesses(left_out: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
            for space in SPACES:
                retrieval = _Retrieval(features[~left_out], rows.values[~left_out], space)
                yield from retrieval.averages(features[left_out], self.neighbours)

        self.validation_scores = dict(zip(choices, inner_scores(rows, guesses).tolist(), strict=True))
        self.space, self.k = max(choices, key=lambda choice: self.validation_scores[choice])
        self._retrieval = _Retrieval(features, rows.values, self.space)
        return self

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Average, (n, g), the log-normalised values of the training regions most like the crops at the points (n, 2).

        Raises
        ------
        ModelError
            Before `fit`.
        """
        if self._retrieval is None or self.k is None:
            raise ModelError("KnnBaseline: call fit before predict.")
        features = crop_features(slide, centers_um, um_per_px=self.um_per_px)
        starts = range(0, max(1, len(features)), _AT_ONCE)
        parts = [next(self._retrieval.averages(features[start : start + _AT_ONCE], [self.k])) for start in starts]
        return np.concatenate(parts).astype(np.float32)


class _Retrieval:
    """Training regions as unit vectors of one space."""

    def __init__(self, features: NDArray[np.float32], values: NDArray[np.float64], space: str) -> None:
        self._values = values
        self._standardise = Standardiser(features, BLOCKS)
        self._whiten: NDArray[np.float64] | None = None
        if space != "standardised":
            self._whiten = _whitening(self._standardise(features), int(space.rpartition("-")[2]))
        self._units = self._unit(features)

    def _unit(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        x = self._standardise(features)
        if self._whiten is not None:
            x = x @ self._whiten
        units: NDArray[np.float64] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return units

    def averages(self, features: NDArray[np.float32], numbers: Sequence[int]) -> Iterator[NDArray[np.float64]]:
        """Give the averages (n, g) over each of some numbers of neighbours, or over all where there are fewer."""
        # Of two regions that are equally near, the one that comes first: whatever the machine, the same result.
        nearest = np.argsort(-(self._unit(features) @ self._units.T), axis=1, kind="stable")
        for k in numbers:
            chosen = nearest[:, :k]
            entries = np.full(chosen.size, 1.0 / max(1, chosen.shape[1]))
            first = np.arange(len(chosen) + 1) * chosen.shape[1]
            shares = sparse.csr_array((entries, chosen.ravel(), first), shape=(len(chosen), len(self._values)))
            yield np.asarray(shares @ self._values, np.float64)


def _whitening(x: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    """Give the (f, c) matrix that brings centred rows (n, f) to principal components of variance one."""
    _, singular, axes = np.linalg.svd(x, full_matrices=False)
    # A component without variance would be rounding, blown up.
    kept = min(components, int((singular > 1e-6 * singular[0]).sum()))
    result: NDArray[np.float64] = axes[:kept].T * (np.sqrt(len(x)) / singular[:kept])
    return result
