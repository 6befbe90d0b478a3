"""Super-pixels that add up to what was measured, as in iStar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.errors import DataError, ModelError
from pixnet.evaluation.baselines.base import TrainingRows, training_rows
from pixnet.evaluation.baselines.inner_folds import inner_scores
from pixnet.evaluation.baselines.standardise import Standardiser
from pixnet.evaluation.baselines.superpixels import superpixels_under
from pixnet.regions import Disks

if TYPE_CHECKING:
    from pixnet.evaluation.baselines.superpixel_mlp import MeanSupervision, SuperpixelMLP
    from pixnet.regions import Regions
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide

EPOCHS = 48
"""Most epochs; how many of them are used is chosen inside the training samples."""

RESTARTS = 5
"""Networks whose median is taken, as many as in the paper: each costs a third of what choosing the epochs does."""

_EVERY = 4  # epochs between two looks at the regions left out
_LEARNING_RATE = 3e-4
_BATCH = 32
_ENOUGH = 200_000  # super-pixels that tell the mean and deviation of a feature
_AT_ONCE = 1 << 14  # super-pixels that are standardised together


class IstarBaseline:
    """An MLP on super-pixels, taught by means over regions, as in iStar (Zhang et al., Nature Biotechnology 2024).

    Kept: super-pixels of 8 um, described by a frozen encoder and their colour; an MLP of four layers of 256 with
    leaky ReLU and a head ELU + 1; genes scaled to their least and largest training value; squared error between the
    *mean* of the predictions over a region and what was measured in it; the median of several random restarts.

    Different: the encoder is this package's default, read at 1 um per pixel, in place of a hierarchical transformer;
    the mean is weighted by the exact area of each super-pixel in the region; targets are log-normalised values, where
    iStar takes counts, so that all methods here predict the same thing; it is asked for slides that it was not
    trained on; Adam's rate is 3e-4, and the number of epochs is that of the highest mean correlation over genes
    (PCC@M) of one network, by the folds of `RidgeBaseline`. The rate was chosen on Her2ST C4 and C5, seen from C2:
    0.270 after 72 epochs at 1e-4, 0.273 after 32 at 3e-4, 0.274 after 12 at 1e-3, where it falls off fast.

    Parameters
    ----------
    most_epochs
        Epochs to choose from: multiples of 4 up to this.
    restarts
        Networks whose median is taken.

    Attributes
    ----------
    epochs : int or None
        The chosen number of epochs; None before `fit`.
    diameter_um : float
        Diameter over which `predict` averages: the median over training regions of that of a disk of the same area.
    validation_scores : dict
        PCC@M inside training, for every number of epochs.
    """

    METHOD_VERSION = 1

    def __init__(self, most_epochs: int = EPOCHS, restarts: int = RESTARTS) -> None:
        if most_epochs < _EVERY or restarts < 1:
            raise DataError(f"istar: {most_epochs} epochs and {restarts} restarts given; it needs {_EVERY} and 1.")
        self.most_epochs = most_epochs
        self.restarts = restarts
        self.epochs: int | None = None
        self.diameter_um = float("nan")
        self.validation_scores: dict[int, float] = {}
        self._networks: list[SuperpixelMLP] = []
        self._standardise: Standardiser | None = None
        self._range = (np.zeros(0), np.ones(0))

    def fit(
        self,
        samples: Sequence[Sample],
        panel: GenePanel,
        min_counts: int = 500,
        seed: int = 0,
        *,
        density: bool = False,
    ) -> Self:
        """Choose the number of epochs inside the training samples, then train on all of them, several times anew.

        The same seed and number of threads give the same networks.

        Raises
        ------
        DataError
            If fewer than 8 regions have enough counts, or a sample lacks a gene of the panel.
        """
        rows = training_rows(samples, panel, min_counts, "istar", density=density)
        features, weights = _superpixels(rows)
        areas = np.concatenate([regions.areas_um2 for regions in rows.regions])
        self.diameter_um = float(np.median(np.sqrt(4.0 * areas / np.pi)))
        self._standardise = Standardiser(features[:: 1 + len(features) // _ENOUGH])
        for start in range(0, len(features), _AT_ONCE):  # in place: this is the largest table of all
            part = slice(start, start + _AT_ONCE)
            features[part] = self._standardise(features[part])
        self.validation_scores = self._epoch_scores(rows, features, weights, seed)
        self.epochs = max(self.validation_scores, key=lambda epochs: self.validation_scores[epochs])
        self._range = _range(rows.values)
        self._networks = []
        for restart in range(self.restarts):
            training = _training(features, weights, rows.values, seed * self.restarts + restart)
            for _ in range(self.epochs):
                training.epoch()
            self._networks.append(training.network)
        return self

    def _epoch_scores(
        self,
        rows: TrainingRows,
        features: NDArray[np.float32],
        weights: sparse.csr_array[np.float64],
        seed: int,
    ) -> dict[int, float]:
        """Give the PCC@M inside the training samples after every few epochs."""
        looks = range(_EVERY, self.most_epochs + 1, _EVERY)

        def guesses(left_out: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
            training = _training(features, weights[~left_out], rows.values[~left_out], seed)
            for epochs in looks:
                while training.epochs < epochs:
                    training.epoch()
                yield training.means(weights[left_out])

        return dict(zip(looks, inner_scores(rows, guesses).tolist(), strict=True))

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Predict (n, g) log-normalised values: means over disks of `diameter_um` round the points (n, 2).

        Raises
        ------
        ModelError
            Before `fit`.
        DataError
            As `predict_regions`.
        """
        if not self._networks:
            raise ModelError("IstarBaseline: call fit before predict.")
        return self.predict_regions(slide, Disks(centers_um, self.diameter_um))

    def predict_regions(self, slide: Slide, regions: Regions) -> NDArray[np.float32]:
        """Predict (n, g) log-normalised values: the mean over each of some regions of any shape and size.

        A region within one super-pixel is given what is predicted for that super-pixel.

        Raises
        ------
        ModelError
            Before `fit`.
        DataError
            If a region lies wholly beyond the slide.
        """
        from pixnet.evaluation.baselines.superpixel_mlp import median_prediction

        if self._standardise is None or not self._networks:
            raise ModelError("IstarBaseline: call fit before predict.")
        least, span = self._range
        total = np.zeros((len(regions), len(least)))
        covered = np.zeros(len(regions))
        for rows, areas, features in superpixels_under(slide, regions):
            scaled = median_prediction(self._networks, self._standardise(features).astype(np.float32))
            total[rows] += areas @ scaled
            covered[rows] += areas.sum(axis=1)
        if not (covered > 0).all():
            raise DataError(
                f"{slide.name}: {int((covered <= 0).sum())} of {len(regions)} regions lie wholly beyond the slide; "
                "leave them out."
            )
        return np.asarray(least + span * (total / covered[:, None]), np.float32)


def _superpixels(rows: TrainingRows) -> tuple[NDArray[np.float32], sparse.csr_array[np.float64]]:
    """Give the features (m, f) of all super-pixels under training regions, and each region's shares in them (n, m)."""
    features, places, first, width = [], [], 0, 0
    for slide, regions in zip(rows.slides, rows.regions, strict=True):
        for near, areas, described in superpixels_under(slide, regions):
            features.append(described)
            entries = areas.tocoo()
            places.append((entries.data, first + near[entries.row], width + entries.col))
            width += len(described)
        first += len(regions)
        slide.close()  # an untiled image stays decoded in memory otherwise, one for each sample
    area, row, column = (np.concatenate(part) for part in zip(*places, strict=True))
    weights = sparse.csr_array((area, (row, column)), shape=(first, width))
    return np.concatenate(features), sparse.csr_array(sparse.diags_array(1.0 / weights.sum(axis=1)) @ weights)


def _training(
    features: NDArray[np.float32], weights: sparse.csr_array[np.float64], values: NDArray[np.float64], seed: int
) -> MeanSupervision:
    from pixnet.evaluation.baselines.superpixel_mlp import MeanSupervision

    least, span = _range(values)
    return MeanSupervision(features, weights, (values - least) / span, seed, _LEARNING_RATE, _BATCH)


def _range(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the least value of each gene and how far its values reach; 1 for those that never change."""
    least, span = values.min(axis=0), np.ptp(values, axis=0)
    return least, np.where(span > 0, span, 1.0)
