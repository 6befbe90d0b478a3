"""A pretrained CNN that is trained on, from crops to values."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pixnet.evaluation.pooled_encoder import PooledEncoder

_AT_ONCE = 32  # crops that are predicted together


class CropNetwork(nn.Module):
    """The pooled encoder and one linear layer, which starts at weights of zero and a bias of the training mean.

    Parameters
    ----------
    level
        (g,) training mean of each gene.
    """

    def __init__(self, level: NDArray[np.float64]) -> None:
        super().__init__()
        self.encoder = PooledEncoder()
        self.head = nn.Linear(self.encoder.channels, len(level))
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.copy_(torch.from_numpy(level))

    def forward(self, image: Tensor) -> Tensor:
        """Give values (N, g) for crops of bytes (N, 3, H, W)."""
        values: Tensor = self.head(self.encoder(image))
        return values

    def train(self, mode: bool = True) -> CropNetwork:
        """Leave the batch normalisation on its stored statistics: few crops a batch make poor ones."""
        return super().train(False)


class FineTuning:
    """The training of a `CropNetwork`, epoch by epoch.

    Parameters
    ----------
    crops
        (n, side, side, 3) bytes.
    values
        (n, g).
    seed
        Of the order of the crops and of the symmetry that each is shown in.
    learning_rate, batch
        Of AdamW; crops of a step.
    """

    def __init__(
        self,
        crops: NDArray[np.uint8],
        values: NDArray[np.float64],
        seed: int,
        learning_rate: float,
        batch: int,
    ) -> None:
        self.crops, self.values = crops, torch.from_numpy(values.astype(np.float32))
        self.network = CropNetwork(values.mean(axis=0)).train()
        self.epochs = 0
        self._seed, self._batch = seed, batch
        self._optimiser = torch.optim.AdamW(self.network.parameters(), lr=learning_rate)

    def epoch(self) -> None:
        """Show every crop once, each turned and mirrored at random, to squared error."""
        rng = np.random.default_rng((self._seed, self.epochs))  # of the epoch's number alone
        order, turns = rng.permutation(len(self.crops)), rng.integers(8, size=len(self.crops))
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            shown = [symmetry(_image(self.crops[row][None]), int(turns[row])) for row in rows]
            loss = F.mse_loss(self.network(torch.cat(shown)), self.values[torch.from_numpy(rows)])
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
        self.epochs += 1


def predicted(network: CropNetwork, crops: NDArray[np.uint8], symmetries: int = 8) -> NDArray[np.float32]:
    """Predict (n, g) from crops, averaged over that many of the eight symmetries of the square; 1 is the crop as is."""
    parts = [np.empty((0, network.head.out_features), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(crops), _AT_ONCE):
            image = _image(crops[start : start + _AT_ONCE])
            guesses = [network(symmetry(image, number)) for number in range(symmetries)]
            parts.append(torch.stack(guesses).mean(dim=0).numpy())
    return np.concatenate(parts)


def symmetry(image: Tensor, number: int) -> Tensor:
    """Give one of the eight symmetries, 0 to 7, of square images (N, C, S, S); 0 leaves them as they are."""
    turned = torch.rot90(image, number % 4, (2, 3))
    return turned if number < 4 else turned.flip(3)


def _image(crops: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(crops).permute(0, 3, 1, 2)
