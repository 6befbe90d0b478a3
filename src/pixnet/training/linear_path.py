"""The linear path of a trained network, solved in closed form from its training regions.

A ridge regression predicts the log-normalised values of regions from their features (`pixnet.network.linear_path`).
What it predicts for the training regions is then expressed by the head's programs, and their shares are regressed on
the same features. So the linear path needs no channels of its own, and its integral over a region is as exact as that
of the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import nnls
from torch import Tensor

from pixnet.expression import SCALE, correlation
from pixnet.grid import Box
from pixnet.sample.sample import held_out_parts

if TYPE_CHECKING:
    from pixnet.features.views import View
    from pixnet.network.linear_path import LinearPath
    from pixnet.network.network import Network
    from pixnet.training.config import TrainingConfig
    from pixnet.training.features import PyramidSource
    from pixnet.training.targets import Targets

DEFAULT_SHARE = 0.0
"""Share of the linear path where no left-out samples show which is best."""

_MOST_REGIONS = 4000  # that the path is solved from
_MOST_VALUES = 1 << 24  # of all their genes
_TILE = 64  # side of a square, in pixels of the deepest map, whose regions are described together
_PENALTIES = np.logspace(-3.0, 2.0, 11)  # relative to the mean eigenvalue
_LEAST = 1e-8  # share of a gene


@torch.no_grad()
def solve_linear_path(
    network: Network, source: PyramidSource, targets: Sequence[Targets], views: Sequence[View], config: TrainingConfig
) -> None:
    """Solve the linear path of a trained network, and give it the share of the settings.

    `targets` are those that the network learned from, `views` the slide of each as it is. At most 4,000 regions are
    used, drawn at random, and the genes that all samples were measured for. Nothing is done for a head other than
    `rate`, or if there is no such gene.
    """
    measured = np.all([target.measured for target in targets], axis=0)
    genes = np.flatnonzero(measured[: targets[0].panel.shape[1]])
    if network.linear is None or not len(genes):
        return
    rng = np.random.default_rng([config.seed, 4])
    fraction = min(1.0, min(_MOST_REGIONS, _MOST_VALUES // len(genes)) / sum(map(len, targets)))
    drawn = [np.sort(rng.choice(len(t), max(1, round(fraction * len(t))), replace=False)) for t in targets]
    values = np.concatenate([t.dense(index)[1][:, genes] for t, index in zip(targets, drawn, strict=True)])
    centers = np.concatenate([t.regions.take(index).centers_um for t, index in zip(targets, drawn, strict=True)])
    parts = zip(views, targets, drawn, strict=True)
    features = np.concatenate([region_features(network, source, view, t, index) for view, t, index in parts])
    owner = np.repeat(np.arange(len(targets)), [len(index) for index in drawn])
    held_out = held_out_parts([target.sample.donor for target in targets], owner, centers)

    scale = _scale(features, owner, network)
    scaled = features * scale
    penalty = _best_penalty(scaled, values, owner, held_out)
    ridge = _Ridge(scaled, owner)
    expected = values.mean(axis=0) + _within_samples(scaled, owner) @ ridge.weights(values, penalty)
    # All outputs that every sample was measured for: the genes, and all others together.
    programs = _as_programs(expected, network.head.linear()[0].double().cpu().numpy()[:, measured])
    weight = ridge.weights(programs, penalty) * scale[:, None]
    bias = programs.mean(axis=0) - features.mean(axis=0) @ weight
    share = DEFAULT_SHARE if config.linear_share is None else config.linear_share
    network.linear.solve(torch.from_numpy(weight.T), torch.from_numpy(bias), share)


def program_shares(
    network: Network, source: PyramidSource, view: View, target: Targets, index: NDArray[np.int64]
) -> Tensor | None:
    """Return the programs' shares, (k, programs), that the linear path predicts for some of the target's regions.

    None for a network without a linear path; the arguments are those of `region_features`.
    """
    if network.linear is None:
        return None
    features = torch.from_numpy(region_features(network, source, view, target, index)).to(network.linear.weight)
    return network.linear.shares(features @ network.linear.weight.T + network.linear.bias)


def region_features(
    network: Network, source: PyramidSource, view: View, target: Targets, index: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean over each region of the features that the linear path sees, shape (k, f).

    `view` is the slide as it is, and `index` are the numbers of the k regions among those of the target.
    """
    path: LinearPath = network.linear  # type: ignore[assignment]
    regions, squares = target.regions.take(index), path.squares
    grid = view.lattice.grid(path.pitch)
    bounds = regions.bounds_um[:, [1, 0, 3, 2]] / grid.pitch_um
    tiles, numbers = np.unique(bounds[:, :2] // _TILE, axis=0, return_inverse=True)
    result = np.empty((len(index), path.weight.shape[1]))
    for number in range(len(tiles)):
        inside = np.flatnonzero(numbers.ravel() == number)
        (top, left), (bottom, right) = bounds[inside, :2].min(axis=0), bounds[inside, 2:].max(axis=0)
        box = Box(int(top), int(left), int(np.ceil(bottom)) - int(top), int(np.ceil(right)) - int(left))
        maps = squares.means(squares.gather(source.levels(view, box.grown(squares.radius))))
        core = slice(squares.radius, -squares.radius or None)
        pixels = maps[0, :, core, core].flatten(1).T.double().cpu().numpy()
        area = regions.take(inside).coverage(grid.crop(box.row, box.col, box.height, box.width))
        result[inside] = sparse.csr_array(area) @ pixels / np.asarray(area.sum(axis=1)).reshape(-1, 1)
    return result


class _Ridge:
    """Ridge regressions from features (n, f), for any values and penalty; both are centred within samples.

    It uses the eigenvectors of the covariance of the features or, if there are fewer regions, of the regions.
    """

    def __init__(self, features: NDArray[np.float64], owner: NDArray[np.int64]) -> None:
        self._owner = owner
        self._x = _within_samples(features, owner)
        self._dual = len(self._x) < self._x.shape[1]
        squares, self._vectors = np.linalg.eigh(self._x @ self._x.T if self._dual else self._x.T @ self._x)
        self._squares = np.maximum(squares, 0.0)

    def weights(self, values: NDArray[np.floating], penalty: float) -> NDArray[np.float64]:
        """Return the weights (f, g) of values (n, g); the penalty is relative to the mean eigenvalue."""
        y = _within_samples(values, self._owner)
        projected = self._vectors.T @ (y if self._dual else self._x.T @ y)
        solved = self._vectors @ (projected / (self._squares + penalty * self._squares.mean())[:, None])
        return np.asarray(self._x.T @ solved if self._dual else solved)


def _best_penalty(
    features: NDArray[np.float64], values: NDArray[np.floating], owner: NDArray[np.int64], held_out: NDArray[np.int64]
) -> float:
    """Return the penalty with the highest mean correlation over genes in the parts that are left out in turn."""
    total = np.zeros(len(_PENALTIES))
    for part in np.unique(held_out):
        out = held_out == part
        ridge = _Ridge(features[~out], owner[~out])
        for number, penalty in enumerate(_PENALTIES):
            predicted = features[out] @ ridge.weights(values[~out], penalty)
            total[number] += correlation(values[out], predicted).mean()
    return float(_PENALTIES[total.argmax()])


def _as_programs(expected: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares of programs, (n, C), that come nearest to log-normalised values (n, g).

    `weight` (C, g or g + 1) are the head's loadings; with the column g + 1 those of all other genes together. Squared
    errors of the genes' shares are weighted by the inverse of their means, as Poisson counts suggest.
    """
    shares = np.maximum(np.expm1(expected) / SCALE, _LEAST)
    if weight.shape[1] > shares.shape[1]:
        others = np.maximum(1.0 - shares.sum(axis=1, keepdims=True), _LEAST)
        shares = np.hstack([shares, others])
    shares /= shares.sum(axis=1, keepdims=True)
    weighting = shares.mean(axis=0) ** -0.5
    # With the triangular factor each problem is as small as the number of programs.
    basis, triangle = np.linalg.qr((weight * weighting).T)
    programs = np.array([nnls(triangle, row)[0] for row in shares * weighting @ basis])
    return np.asarray(programs / programs.sum(axis=1, keepdims=True))


def _scale(features: NDArray[np.float64], owner: NDArray[np.int64], network: Network) -> NDArray[np.float64]:
    """Return the factor on each feature (f,) that gives the levels, at each width, equal weight."""
    sd = _within_samples(features, owner).std(axis=0)
    groups = np.tile(network.encoder.channels, len(features[0]) // sum(network.encoder.channels))
    usable = sd > 1e-5 * np.abs(features.mean(axis=0))
    scale: NDArray[np.float64] = np.divide(
        1.0, sd * np.sqrt(np.repeat(groups, groups)), out=np.zeros_like(sd), where=usable
    )
    return scale


def _within_samples(table: NDArray[np.floating], owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Subtract from the rows of each sample their mean."""
    result = table.astype(np.float64)
    for sample in np.unique(owner):
        result[owner == sample] -= result[owner == sample].mean(axis=0)
    return result
