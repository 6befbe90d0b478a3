"""An MLP on super-pixels that is told nothing but the mean over each region."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from pixnet.network.integral import to_torch

_WIDTH, _LAYERS = 256, 4
_AT_ONCE = 1 << 14  # super-pixels that are predicted together


class SuperpixelMLP(nn.Module):
    """Four hidden layers of 256 with leaky ReLU, and a head whose values are above zero, ELU + 1.

    Parameters
    ----------
    features, genes
        Widths of what goes in and what comes out.
    """

    def __init__(self, features: int, genes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in [features] + [_WIDTH] * (_LAYERS - 1):
            layers += [nn.Linear(width, _WIDTH), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*layers, nn.Linear(_WIDTH, genes))

    def forward(self, x: Tensor) -> Tensor:
        """Give values (m, g) for the features (m, f) of super-pixels."""
        return F.elu(self.layers(x)) + 1.0


def region_means(network: SuperpixelMLP, features: Tensor, weights: sparse.csr_array[np.float64]) -> Tensor:
    """Give the mean prediction over each region, (n, g).

    Parameters
    ----------
    network
        What predicts a super-pixel.
    features
        (m, f) of all super-pixels.
    weights
        (n, m) share of each region's area in each super-pixel; rows sum to one.
    """
    used = np.unique(weights.indices)
    means: Tensor = torch.sparse.mm(to_torch(weights[:, used]), network(features[torch.from_numpy(used)]))
    return means


class MeanSupervision:
    """The training of a `SuperpixelMLP` on the means over regions, epoch by epoch.

    Parameters
    ----------
    features
        (m, f) standardised features of super-pixels.
    weights
        (n, m) share of each training region in each super-pixel.
    targets
        (n, g).
    seed
        Of the first weights and of the order of the regions.
    learning_rate, batch
        Of Adam; regions of a step.
    """

    def __init__(
        self,
        features: NDArray[np.float32],
        weights: sparse.csr_array[np.float64],
        targets: NDArray[np.float64],
        seed: int,
        learning_rate: float,
        batch: int,
    ) -> None:
        self.features, self.weights = torch.from_numpy(features), weights
        self.targets = torch.from_numpy(targets.astype(np.float32))
        self.epochs = 0
        self._seed, self._batch = seed, batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = SuperpixelMLP(features.shape[1], targets.shape[1])
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)

    def epoch(self) -> None:
        """Show every region once, to the squared error of its mean."""
        order = np.random.default_rng((self._seed, self.epochs)).permutation(len(self.targets))
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            means = region_means(self.network, self.features, self.weights[rows])
            loss = F.mse_loss(means, self.targets[torch.from_numpy(rows)])
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
        self.epochs += 1

    def means(self, weights: sparse.csr_array[np.float64]) -> NDArray[np.float64]:
        """Predict the means (k, g) over other regions of the same super-pixels, from their weights (k, m)."""
        with torch.inference_mode():
            parts = [
                region_means(self.network, self.features, weights[start : start + self._batch]).numpy()
                for start in range(0, weights.shape[0], self._batch)
            ]
        return np.concatenate(parts).astype(np.float64)


def median_prediction(networks: list[SuperpixelMLP], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the median over several networks, (m, g), of what each predicts for super-pixels (m, f)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(features), _AT_ONCE):
            x = torch.from_numpy(features[start : start + _AT_ONCE])
            parts.append(np.median(np.stack([network(x).numpy() for network in networks]), axis=0))
    return np.concatenate(parts).astype(np.float32)
