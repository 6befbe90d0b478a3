"""Latent values as float16, without losing large or small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pixnet.field.head import LinearHead

_SMALLEST = -126  # of the exponents
_ROOM = 15  # powers of two by which a later block may exceed the channel's first one; float16 ends below 2^16


class Outgrown(Exception):  # noqa: N818  no error to anybody but the one who chose the scale
    """A channel exceeds its scale; `exponent` holds those that all values so far would fit in."""

    def __init__(self, exponent: list[int | None]) -> None:
        super().__init__("a channel has outgrown its scale")
        self.exponent = exponent


class NotFinite(Exception):  # noqa: N818  the one who knows the model and the place makes an error of it
    """Some latent values are no numbers or infinite."""


def first_exponents(dtype: np.dtype[Any], head: LinearHead) -> list[int | None]:
    """Give the exponents that are known before any block is: those of values that make as much as the head's b.

    Without them a block of bare glass, where there is next to nothing, would set a factor that tissue outgrows. None
    where the head has no b, or takes nothing from a channel.
    """
    if dtype != np.float16:
        return [None] * head.channels
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.abs(head.b).sum() / np.abs(head.W).sum(axis=1)
    return [max(int(np.frexp(size)[1]), _SMALLEST) if 0 < size < np.inf else None for size in sizes]


class Scale:
    """One factor a channel, by which latent values are divided before they are stored as float16.

    A factor is a power of two, so dividing by it changes no digit: a stored value differs from the computed one by
    float16's half step (2^-11 of itself), or by 2^-25 of the factor where it is tiny beside it. Where `first_exponents`
    does not, the first block in which a channel is not zero sets its factor. Both leave room for values 2^15 times as
    large.

    Parameters
    ----------
    dtype
        float16, or float32, which is stored as it is.
    exponent
        Exponents of the factors; None where one is not known so far.
    """

    def __init__(self, dtype: np.dtype[Any], exponent: Sequence[int | None]) -> None:
        self._dtype = dtype
        self.exponent = list(exponent)

    @property
    def factors(self) -> tuple[float, ...]:
        """Latent units per stored unit, for each channel."""
        return tuple(float(np.ldexp(1.0, value or 0)) for value in self.exponent)

    def pack(self, latent: NDArray[np.float32]) -> NDArray[Any]:
        """Give values (C, h, w), contiguous and writable, as they are stored.

        float16 is written over the values: new memory would take more time than the conversion does.

        Raises
        ------
        NotFinite
            If a value is not finite.
        Outgrown
            If a channel does not fit any more.
        """
        import torch  # several times faster than NumPy at float16, and here wherever a field is computed

        channels = torch.from_numpy(latent)
        # The ends of a channel tell its peak, and whether all of it is finite: what is no number is both its ends.
        peaks = np.array([max(-low.item(), high.item()) for low, high in map(torch.aminmax, channels)], np.float32)
        if not np.isfinite(peaks).all():
            raise NotFinite
        if self._dtype != np.float16:
            return latent.astype(self._dtype, copy=False)
        self._fit(peaks)
        packed = latent.reshape(-1).view(self._dtype)[: latent.size].reshape(latent.shape)
        for target, values, factor in zip(torch.from_numpy(packed), channels, self.factors, strict=True):
            # The product is new memory, and a packed channel ends where the next one begins, or before.
            target.copy_(values * (1.0 / factor))
        return packed

    def _fit(self, peaks: NDArray[np.float32]) -> None:
        """Set the factors of channels that hold values for the first time; raises Outgrown where others do not fit."""
        grown = list(self.exponent)
        for channel in np.flatnonzero(peaks):
            # peak < 2^exponent; the reciprocal of a still smaller power of two is no float32.
            exponent = max(int(np.frexp(peaks[channel])[1]), _SMALLEST)
            known = self.exponent[channel]
            if known is None:
                self.exponent[channel] = grown[channel] = exponent
            elif exponent > known + _ROOM:
                grown[channel] = exponent
        if grown != self.exponent:
            raise Outgrown(grown)
