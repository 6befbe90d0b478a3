"""Super-pixels whose predictions average to what was measured in a region, as in iStar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.evaluation.baselines.base import Baseline, Mask, Standardiser, TrainingRows, best, inner_scores
from pixnet.evaluation.baselines.crops import colour_channels, frozen_encoder
from pixnet.grid import Box, Grid, Lattice
from pixnet.regions import Disks

if TYPE_CHECKING:
    from pixnet.evaluation.baselines.networks import MeanSupervision
    from pixnet.regions import Regions
    from pixnet.slide import Slide

EPOCHS = 48
"""Most epochs; how many of them are used is chosen inside the training samples."""

RESTARTS = 5
"""Networks whose median is taken, as many as in the paper: each takes a third of the time of choosing the epochs."""

PITCH_UM = 8.0
"""Side of a super-pixel, in um."""

GROUPS = (16, 24, 40, 112, 320, 18)
"""Sizes of the groups of features: the stages of the encoder, then mean and deviation of nine colour channels."""

_EPOCHS_PER_VALIDATION = 4
_LEARNING_RATE = 3e-4
_BATCH = 32
_ENOUGH = 200_000  # super-pixels that suffice for the mean and deviation of a feature
_STANDARDISED_AT_ONCE = 1 << 14
_UM_PER_PX = 1.0
_SIDE = 8  # pixels of a super-pixel
_CORE = 1024  # pixels of a tile
_HALO = 192

Piece = tuple[NDArray[np.int64], "sparse.csr_array[np.float64]", NDArray[np.float32]]


class IstarBaseline(Baseline):
    """An MLP on super-pixels, trained on means over regions, as in iStar (Zhang et al., Nature Biotechnology 2024).

    Kept: super-pixels of 8 um, described by a frozen encoder and their colour; an MLP of four layers of 256 with leaky
    ReLU and a head ELU + 1; genes scaled to their least and largest training value; squared error between the *mean* of
    the predictions over a region and what was measured in it; the median of several random restarts.

    Different: the encoder is this package's default, read at 1 um per pixel, in place of a hierarchical transformer.
    The mean is weighted by the exact area of each super-pixel in the region. Targets are log-normalised values, where
    iStar takes counts, so that all methods here predict the same thing. The method predicts slides that it was not
    trained on. Adam's rate is 3e-4, and the number of epochs is that of the highest mean correlation over genes (PCC@M)
    of one network, by the folds of `RidgeBaseline`. The rate was chosen on Her2ST C4 and C5, predicted from C2: 0.270
    after 72 epochs at 1e-4, 0.273 after 32 at 3e-4, 0.274 after 12 at 1e-3, where it falls off fast.

    Parameters
    ----------
    most_epochs
        Largest number of epochs to choose from; all choices are multiples of 4.
    restarts
        Number of networks whose median is taken.

    Attributes
    ----------
    diameter_um : float
        Diameter over which `predict` averages: the median over training regions of that of a disk of the same area.
    """

    name = "istar"
    METHOD_VERSION = 1
    random = True

    def __init__(self, most_epochs: int = EPOCHS, restarts: int = RESTARTS) -> None:
        if most_epochs < _EPOCHS_PER_VALIDATION or restarts < 1:
            raise DataError(
                f"istar: most_epochs must be at least {_EPOCHS_PER_VALIDATION} and restarts at least 1; "
                f"got {most_epochs} epochs and {restarts} restarts."
            )
        self.most_epochs = most_epochs
        self.restarts = restarts
        self.epochs: int | None = None
        self.diameter_um = float("nan")
        self.validation_scores: dict[int, float] = {}

    def _fit(self, rows: TrainingRows, seed: int) -> None:
        features, weights = _training_superpixels(rows)
        areas = np.concatenate([regions.areas_um2 for regions in rows.regions])
        self.diameter_um = float(np.median(np.sqrt(4.0 * areas / np.pi)))
        self._standardise = Standardiser(features[:: 1 + len(features) // _ENOUGH])
        for start in range(0, len(features), _STANDARDISED_AT_ONCE):  # in place: this is the largest table of all
            part = slice(start, start + _STANDARDISED_AT_ONCE)
            features[part] = self._standardise(features[part])
        choices = range(_EPOCHS_PER_VALIDATION, self.most_epochs + 1, _EPOCHS_PER_VALIDATION)

        def predictions(left_out: Mask) -> Iterator[NDArray[np.float64]]:
            training = _training(features, weights[~left_out], rows.values[~left_out], seed)
            for epochs in choices:
                training.train_until(epochs)
                yield training.means(weights[left_out])

        self.validation_scores = inner_scores(rows, choices, predictions)
        self.epochs = best(self.validation_scores)
        self._least, self._span = _value_range(rows.values)
        self._networks = []
        for restart in range(self.restarts):
            training = _training(features, weights, rows.values, seed * self.restarts + restart)
            training.train_until(self.epochs)
            self._networks.append(training.network)

    def _predict(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.float32]:
        return self.predict_regions(slide, Disks(centers_um, self.diameter_um))

    def predict_regions(self, slide: Slide, regions: Regions) -> NDArray[np.float32]:
        """Predict the mean over each of n regions of any shape and size, as `predict` does at points.

        A region within one super-pixel is given the prediction for that super-pixel.

        Raises
        ------
        ModelError
            If `fit` was not called before.
        DataError
            If a region is completely outside the slide.
        """
        from pixnet.evaluation.baselines.networks import median_prediction

        self._check_fitted()
        total = np.zeros((len(regions), len(self._least)))
        covered = np.zeros(len(regions))
        for rows, areas, features in superpixels_under(slide, regions):
            scaled = median_prediction(self._networks, self._standardise(features).astype(np.float32))
            total[rows] += areas @ scaled
            covered[rows] += areas.sum(axis=1)
        if not (covered > 0).all():
            raise DataError(
                f"{slide.name}: {int((covered <= 0).sum())} of {len(regions)} regions are completely outside the "
                "slide; leave them out."
            )
        return np.asarray(self._least + self._span * (total / covered[:, None]), np.float32)


def _training_superpixels(rows: TrainingRows) -> tuple[NDArray[np.float32], sparse.csr_array[np.float64]]:
    """Return the features (m, f) of all super-pixels under training regions, and the regions' shares in them (n, m)."""
    features = []
    entries = []
    n_regions = n_superpixels = 0
    for slide, regions in zip(rows.slides, rows.regions, strict=True):
        for near, areas, described in superpixels_under(slide, regions):
            features.append(described)
            area = areas.tocoo()
            entries.append((area.data, n_regions + near[area.row], n_superpixels + area.col))
            n_superpixels += len(described)
        n_regions += len(regions)
        slide.close()  # an untiled image stays decoded in memory otherwise, one for each sample
    data, row, column = (np.concatenate(part) for part in zip(*entries, strict=True))
    weights = sparse.csr_array((data, (row, column)), shape=(n_regions, n_superpixels))
    return np.concatenate(features), sparse.csr_array(sparse.diags_array(1.0 / weights.sum(axis=1)) @ weights)


def _training(
    features: NDArray[np.float32], weights: sparse.csr_array[np.float64], values: NDArray[np.float64], seed: int
) -> MeanSupervision:
    from pixnet.evaluation.baselines.networks import MeanSupervision

    least, span = _value_range(values)
    return MeanSupervision(features, weights, (values - least) / span, seed, _LEARNING_RATE, _BATCH)


def _value_range(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least value of each gene and the span of its values, 1 for a gene that never changes."""
    span = np.ptp(values, axis=0)
    return values.min(axis=0), np.where(span > 0, span, 1.0)


def superpixels_under(slide: Slide, regions: Regions) -> Iterator[Piece]:
    """Go over a slide in tiles and yield the super-pixels under some regions.

    Super-pixels and tiles are parts of one lattice that begins at the slide's origin, so the features of a super-pixel
    are the same for any regions. The encoder sees 192 um of surroundings: all that the fine stages can use, and most of
    what the deepest can. Everything outside the slide is white.

    Yields
    ------
    rows, areas, features
        Which regions have a part in this tile, shape (k,); the area of each super-pixel in each of them in um^2, shape
        (k, m); the super-pixels' features, shape (m, sum(GROUPS)). Every super-pixel has a part in some region.
    """
    left, top, right, bottom = regions.bounds_um.T
    lattice = Lattice(slide.width_um, slide.height_um, _UM_PER_PX, stride=32, halo=_HALO)
    for box in lattice.tiles(_CORE):
        grid = Grid(box.col * _UM_PER_PX, box.row * _UM_PER_PX, PITCH_UM, box.height // _SIDE, box.width // _SIDE)
        x0, y0, x1, y1 = grid.bounds_um
        near = np.flatnonzero((left < x1) & (right > x0) & (top < y1) & (bottom > y0))
        if not len(near):
            continue
        areas = regions.take(near).coverage(grid)
        has_area = np.diff(areas.indptr) > 0
        superpixels = np.unique(areas.indices)
        if len(superpixels):
            yield near[has_area], areas[has_area][:, superpixels], _features(slide, box)[superpixels]


def _features(slide: Slide, box: Box) -> NDArray[np.float32]:
    """Return the features of all super-pixels of a tile, row by row."""
    import torch
    import torch.nn.functional as F

    from pixnet.network.encoders.base import as_image

    rgb, _ = slide.read_box(box.grown(_HALO), _UM_PER_PX)
    rows, cols, halo = box.height // _SIDE, box.width // _SIDE, _HALO // _SIDE
    with torch.inference_mode():
        levels = []
        for level in frozen_encoder()(as_image(rgb)[None]):
            size = (rows + 2 * halo, cols + 2 * halo)
            finer = level.shape[2] > size[0]
            level = F.adaptive_avg_pool2d(level, size) if finer else F.interpolate(level, size, mode="bilinear")
            levels.append(level[0, :, halo : halo + rows, halo : halo + cols].flatten(1).T.numpy())
    core = rgb[_HALO : _HALO + box.height, _HALO : _HALO + box.width]
    blocks = core.reshape(rows, _SIDE, cols, _SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(rows * cols, -1, 3)
    colour = colour_channels(blocks)
    return np.concatenate([*levels, colour.mean(axis=1), colour.std(axis=1)], axis=1)
