"""A CNN that is fine-tuned from crops to expression, as in ST-Net."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixnet.evaluation.baselines.base import Baseline, Mask, TrainingRows, best, inner_scores
from pixnet.evaluation.baselines.crops import read_crops

if TYPE_CHECKING:
    from pixnet.slide import Slide

EPOCHS = 10
"""Most epochs; how many of them are used is chosen inside the training samples."""

_LEARNING_RATE = 1e-4
_BATCH = 32
_CROPS_AT_ONCE = 256  # crops in memory while predicting


class StNetBaseline(Baseline):
    """ST-Net (He et al., Nature Biomedical Engineering 2020): all layers of a CNN trained from crops to expression.

    Kept: a CNN with ImageNet weights; 112-um crops; a last layer of zeros with the training mean as its bias; squared
    error; batches of 32; training crops turned and mirrored at random; the average over the square's eight symmetries
    when predicting; the number of epochs chosen by folds inside the training samples.

    Different: the CNN is this package's default encoder, since the weights of DenseNet-121 are not on a package index.
    Crops are read at 1 um per pixel (112 px), which takes a quarter of the time and costs ridge 0.004 of its
    correlation. AdamW with a rate of 1e-4 replaces stochastic gradient descent at 1e-6 with momentum, which would need
    many more epochs. Batch normalisation uses its stored statistics. Targets are log(1 + counts per 10,000). The number
    of epochs is that of the highest mean correlation over genes (PCC@M), by the folds of `RidgeBaseline`; then the
    network is trained on all training samples for as many.

    The rate and the stored statistics were chosen on Her2ST C4 and C5, predicted from C2: with stored statistics 0.280
    at 1e-4, 0.265 at 3e-4 and 0.076 at 1e-3; with those of the batch 0.254 at 3e-4.

    The number of epochs is chosen from 1 to `most_epochs`.
    """

    name = "st-net"
    METHOD_VERSION = 1
    random = True

    def __init__(self, um_per_px: float = 1.0, most_epochs: int = EPOCHS) -> None:
        self.um_per_px = um_per_px
        self.most_epochs = most_epochs
        self.epochs: int | None = None
        self.validation_scores: dict[int, float] = {}

    def _crops(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.uint8]:
        return read_crops(slide, centers_um, self.um_per_px)

    def _fit(self, rows: TrainingRows, seed: int) -> None:
        from pixnet.evaluation.baselines.networks import FineTuning, predict_crops

        crops = rows.described(self._crops)
        choices = range(1, self.most_epochs + 1)

        def predictions(left_out: Mask) -> Iterator[NDArray[np.float32]]:
            training = FineTuning(crops[~left_out], rows.values[~left_out], seed, _LEARNING_RATE, _BATCH)
            for epochs in choices:
                training.train_until(epochs)
                yield predict_crops(training.network, crops[left_out], symmetries=1)

        self.validation_scores = inner_scores(rows, choices, predictions)
        self.epochs = best(self.validation_scores)
        training = FineTuning(crops, rows.values, seed, _LEARNING_RATE, _BATCH)
        training.train_until(self.epochs)
        self._network = training.network

    def _predict(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float32]:
        from pixnet.evaluation.baselines.networks import predict_crops

        starts = range(0, max(1, len(centers_um)), _CROPS_AT_ONCE)
        parts = (self._crops(slide, centers_um[start : start + _CROPS_AT_ONCE]) for start in starts)
        return np.concatenate([predict_crops(self._network, crops) for crops in parts])
