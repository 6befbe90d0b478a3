"""An encoder whose weights are not at hand, for a network that reads its features."""

from __future__ import annotations

from torch import Tensor

from pixnet.errors import ModelError
from pixnet.network.encoders.base import Encoder
from pixnet.network.encoders.receptive import reach_of


class AbsentEncoder(Encoder):
    """Everything that a network needs to know of an encoder, but its weights.

    Parameters
    ----------
    encoder
        The encoder, whatever its weights; it is not kept.
    sha256
        Hash of the weights that computed the features.
    """

    def __init__(self, encoder: Encoder, sha256: str) -> None:
        super().__init__(*(tuple(value.flatten().tolist()) for value in (encoder.mean, encoder.std)))
        self.pitches, self.channels = encoder.pitches, encoder.channels
        self.phase, self.window, self.reach = encoder.phase, encoder.window, reach_of(encoder)
        self.blocks = getattr(encoder, "blocks", ())
        self.sha256 = sha256

    def forward(self, image: Tensor, rim: int = 0, origin: tuple[int, int] = (0, 0)) -> list[Tensor]:
        """Raise ModelError."""
        raise ModelError("the encoder's weights are not loaded; this network reads features that were stored before.")
