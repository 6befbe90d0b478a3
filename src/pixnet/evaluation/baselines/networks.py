"""The networks of the baselines and their training. torch is imported here, so other modules import this one late."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from pixnet.network.config import DEFAULT_ENCODER
from pixnet.network.encoders.weights import create_timm
from pixnet.network.heads import to_torch

_CROPS_AT_ONCE = 32  # when predicting
_SUPERPIXELS_AT_ONCE = 1 << 14  # when predicting
_WIDTH = 256
_LAYERS = 4


class PooledEncoder(nn.Module):
    """The default encoder with its ImageNet weights, its last convolution and its pooling, without a classifier.

    It describes a complete crop by one vector of `channels` numbers, the one that the encoder's own classifier is
    given.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        model: Any = create_timm(DEFAULT_ENCODER, "pretrained", num_classes=0)
        self.model = model
        self.channels = int(model.num_features)
        for name in ("mean", "std"):
            values = torch.tensor(model.pretrained_cfg[name]).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the vectors (N, channels) of crops of bytes (N, 3, H, W)."""
        vectors: Tensor = self.model((image.float() / 255.0 - self.mean) / self.std)
        return vectors


class CropNetwork(nn.Module):
    """The pooled encoder and a linear layer that starts with weights of zero and the training mean (g,) as its bias."""

    def __init__(self, mean: NDArray[np.float64]) -> None:
        super().__init__()
        self.encoder = PooledEncoder()
        self.head = nn.Linear(self.encoder.channels, len(mean))
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.copy_(torch.from_numpy(mean))

    def forward(self, image: Tensor) -> Tensor:
        """Return the values (N, g) of crops of bytes (N, 3, H, W)."""
        values: Tensor = self.head(self.encoder(image))
        return values

    def train(self, mode: bool = True) -> CropNetwork:
        """Keep batch normalisation on its stored statistics: those of a small batch of crops are poor."""
        return super().train(False)


class SuperpixelMLP(nn.Module):
    """Four hidden layers of 256 with leaky ReLU, and a head with values above zero, ELU + 1."""

    def __init__(self, features: int, genes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in [features] + [_WIDTH] * (_LAYERS - 1):
            layers += [nn.Linear(width, _WIDTH), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*layers, nn.Linear(_WIDTH, genes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (m, g) of super-pixels with features (m, f)."""
        return F.elu(self.layers(x)) + 1.0


class Training(ABC):
    """Training of a network by squared error on targets (n, g), epoch by epoch.

    The seed is that of whatever an epoch draws, such as the order of the rows; `batch` is the number of rows in a step.
    """

    def __init__(
        self, network: nn.Module, targets: NDArray[np.float64], optimiser: torch.optim.Optimizer, seed: int, batch: int
    ) -> None:
        self.network = network
        self.targets = torch.from_numpy(targets.astype(np.float32))
        self.epochs = 0
        self._optimiser = optimiser
        self._seed = seed
        self._batch = batch

    def train_until(self, epochs: int) -> None:
        """Train until this number of epochs is reached."""
        while self.epochs < epochs:
            self.epoch()

    def epoch(self) -> None:
        """Train on every row once, in random order."""
        # A generator for each epoch: what is drawn depends on the epoch's number alone.
        order = self._order(np.random.default_rng((self._seed, self.epochs)))
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            loss = F.mse_loss(self._predictions(rows), self.targets[torch.from_numpy(rows)])
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
        self.epochs += 1

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the order of the rows in an epoch, and whatever else is random in it."""
        return rng.permutation(len(self.targets))

    @abstractmethod
    def _predictions(self, rows: NDArray[np.int64]) -> Tensor:
        """Predict the targets of some rows, with gradients."""


class FineTuning(Training):
    """The training of a `CropNetwork` on crops (n, side, side, 3), turned and mirrored at random in every epoch."""

    network: CropNetwork

    def __init__(
        self, crops: NDArray[np.uint8], values: NDArray[np.float64], seed: int, learning_rate: float, batch: int
    ) -> None:
        network = CropNetwork(values.mean(axis=0)).train()
        super().__init__(network, values, torch.optim.AdamW(network.parameters(), lr=learning_rate), seed, batch)
        self.crops = crops

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        order = super()._order(rng)
        self._symmetries = rng.integers(8, size=len(self.crops))
        return order

    def _predictions(self, rows: NDArray[np.int64]) -> Tensor:
        shown = [symmetry(as_tensor(self.crops[row][None]), int(self._symmetries[row])) for row in rows]
        values: Tensor = self.network(torch.cat(shown))
        return values


class MeanSupervision(Training):
    """The training of a `SuperpixelMLP` on means over regions: no super-pixel has a target of its own.

    `features` are the standardised features of super-pixels, shape (m, f), and `weights` the shares of each training
    region's area in them, shape (n, m); rows sum to one. The seed is also that of the first weights.
    """

    network: SuperpixelMLP

    def __init__(
        self,
        features: NDArray[np.float32],
        weights: sparse.csr_array[np.float64],
        targets: NDArray[np.float64],
        seed: int,
        learning_rate: float,
        batch: int,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SuperpixelMLP(features.shape[1], targets.shape[1])
        super().__init__(network, targets, torch.optim.Adam(network.parameters(), lr=learning_rate), seed, batch)
        self.features = torch.from_numpy(features)
        self.weights = weights

    def _predictions(self, rows: NDArray[np.int64]) -> Tensor:
        return region_means(self.network, self.features, self.weights[rows])

    def means(self, weights: sparse.csr_array[np.float64]) -> NDArray[np.float64]:
        """Predict the means (k, g) over other regions of the same super-pixels, given their weights (k, m)."""
        with torch.inference_mode():
            parts = [
                region_means(self.network, self.features, weights[start : start + self._batch]).numpy()
                for start in range(0, weights.shape[0], self._batch)
            ]
        return np.concatenate(parts).astype(np.float64)


def region_means(network: SuperpixelMLP, features: Tensor, weights: sparse.csr_array[np.float64]) -> Tensor:
    """Return the mean prediction over each region, shape (n, g).

    `features` are those of all super-pixels, shape (m, f), and `weights` the shares of each region's area in them, (n,
    m).
    """
    used = np.unique(weights.indices)
    means: Tensor = torch.sparse.mm(to_torch(weights[:, used]), network(features[torch.from_numpy(used)]))
    return means


def median_prediction(networks: list[SuperpixelMLP], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median over several networks of their predictions for super-pixels (m, f), shape (m, g)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(features), _SUPERPIXELS_AT_ONCE):
            x = torch.from_numpy(features[start : start + _SUPERPIXELS_AT_ONCE])
            parts.append(np.median(np.stack([network(x).numpy() for network in networks]), axis=0))
    return np.concatenate(parts).astype(np.float32)


def predict_crops(network: CropNetwork, crops: NDArray[np.uint8], symmetries: int = 8) -> NDArray[np.float32]:
    """Predict the values (n, g) of crops (n, side, side, 3), averaged over up to eight symmetries of the square."""
    parts = [np.empty((0, network.head.out_features), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(crops), _CROPS_AT_ONCE):
            image = as_tensor(crops[start : start + _CROPS_AT_ONCE])
            values = [network(symmetry(image, number)) for number in range(symmetries)]
            parts.append(torch.stack(values).mean(dim=0).numpy())
    return np.concatenate(parts)


def symmetry(image: Tensor, number: int) -> Tensor:
    """Return one of the eight symmetries, 0 to 7, of square images (N, C, S, S); 0 leaves them as they are."""
    turned = torch.rot90(image, number % 4, (2, 3))
    return turned if number < 4 else turned.flip(3)


def as_tensor(crops: NDArray[np.uint8]) -> Tensor:
    """Return crops (N, H, W, 3) as a tensor (N, 3, H, W)."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2)
