"""A CNN fine-tuned from crops to expression, as ST-Net does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import ModelError
from pixnet.evaluation.baselines.base import training_rows
from pixnet.evaluation.baselines.crops import read_crops
from pixnet.evaluation.baselines.inner_folds import inner_scores

if TYPE_CHECKING:
    from pixnet.evaluation.baselines.fine_tuning import CropNetwork
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide

EPOCHS = 10
"""Most epochs; how many of them are used is chosen inside the training samples."""

_LEARNING_RATE = 1e-4
_BATCH = 32
_AT_ONCE = 256  # crops that are held while predicting


class StNetBaseline:
    """ST-Net (He et al., Nature Biomedical Engineering 2020): all layers of a CNN trained from crops to expression.

    Kept: a CNN with ImageNet weights; 112-um crops; a last layer of zeros whose bias is the training mean; squared
    error; batches of 32; training crops turned and mirrored at random; the average over the square's eight symmetries
    when predicting; the number of epochs chosen by folds inside the training samples.

    Different: the CNN is this package's default encoder, for the weights of DenseNet-121 are on no package index;
    crops are read at 1 um per pixel (112 px), which costs a quarter and costs ridge 0.004 of its correlation; AdamW
    with a rate of 1e-4 takes the place of stochastic gradient descent at 1e-6 with momentum, which would need many
    more epochs; batch normalisation keeps its stored statistics; targets are log(1 + counts per 10,000). The epochs
    are those of the highest mean correlation over genes (PCC@M), by the folds of `RidgeBaseline`; then all training
    samples are learned for as many.

    The rate and the stored statistics were chosen on Her2ST C4 and C5, seen from C2: with stored statistics 0.280 at
    1e-4, 0.265 at 3e-4 and 0.076 at 1e-3; with those of the batch 0.254 at 3e-4.

    Parameters
    ----------
    um_per_px
        Resolution at which crops are read.
    most_epochs
        Epochs to choose from: 1 to this.

    Attributes
    ----------
    epochs : int or None
        The chosen number of epochs; None before `fit`.
    validation_scores : dict
        PCC@M inside training, after every epoch.
    """

    METHOD_VERSION = 1

    def __init__(self, um_per_px: float = 1.0, most_epochs: int = EPOCHS) -> None:
        self.um_per_px = um_per_px
        self.most_epochs = most_epochs
        self.epochs: int | None = None
        self.validation_scores: dict[int, float] = {}
        self._network: CropNetwork | None = None

    def fit(
        self,
        samples: Sequence[Sample],
        panel: GenePanel,
        min_counts: int = 500,
        seed: int = 0,
        *,
        density: bool = False,
    ) -> Self:
        """Choose the number of epochs inside the training samples, then train on all of them.

        The same seed and number of threads give the same network.

        Raises
        ------
        DataError
            If fewer than 8 regions have enough counts, or a sample lacks a gene of the panel.
        """
        from pixnet.evaluation.baselines.fine_tuning import FineTuning, predicted

        rows = training_rows(samples, panel, min_counts, "st-net", density=density)
        crops = rows.described(lambda slide, points: read_crops(slide, points, self.um_per_px))

        def guesses(left_out: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
            training = FineTuning(crops[~left_out], rows.values[~left_out], seed, _LEARNING_RATE, _BATCH)
            for _ in range(self.most_epochs):
                training.epoch()
                yield predicted(training.network, crops[left_out], symmetries=1)

        self.validation_scores = dict(enumerate(inner_scores(rows, guesses).tolist(), start=1))
        self.epochs = max(self.validation_scores, key=lambda epochs: self.validation_scores[epochs])
        training = FineTuning(crops, rows.values, seed, _LEARNING_RATE, _BATCH)
        for _ in range(self.epochs):
            training.epoch()
        self._network = training.network
        return self

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Predict (n, g) log-normalised values from the eight symmetries of the crops centred on the points (n, 2).

        Raises
        ------
        ModelError
            Before `fit`.
        """
        from pixnet.evaluation.baselines.fine_tuning import predicted

        if self._network is None:
            raise ModelError("StNetBaseline: call fit before predict.")
        centers = np.asarray(centers_um, np.float64)
        parts = []
        for start in range(0, max(1, len(centers)), _AT_ONCE):
            crops = read_crops(slide, centers[start : start + _AT_ONCE], self.um_per_px)
            parts.append(predicted(self._network, crops))
        return np.concatenate(parts)
