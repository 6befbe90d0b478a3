"""Latent values as float16, without overflow of large values or loss of small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pixnet.field.head import LinearHead

_SMALLEST = -126  # smallest exponent
_ROOM = 15  # powers of two by which later blocks may exceed the channel's first one; float16 ends below 2^16


class Outgrown(Exception):  # noqa: N818  a signal to the builder, not an error
    """A channel exceeds its scale; `exponent` holds exponents that all values so far fit in."""

    def __init__(self, exponent: list[int | None]) -> None:
        super().__init__("a channel exceeds its scale")
        self.exponent = exponent


class NotFinite(Exception):  # noqa: N818  a signal to the builder, which raises an error with the place
    """Some latent values are NaN or infinite."""


def first_exponents(dtype: np.dtype[Any], head: LinearHead) -> list[int | None]:
    """Return the exponents that are known before any block: those of values that contribute as much as the head's b.

    Without them a block of bare glass, with almost no signal, would set a factor that tissue exceeds. The exponent is
    None where b is zero or the head does not use the channel.
    """
    if dtype != np.float16:
        return [None] * head.channels
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.abs(head.b).sum() / np.abs(head.W).sum(axis=1)
    return [max(int(np.frexp(size)[1]), _SMALLEST) if 0 < size < np.inf else None for size in sizes]


class Scale:
    """One factor per channel, by which latent values are divided before they are stored as float16.

    A factor is a power of two, so the division changes no digit. A stored value differs from the computed one by half a
    step of float16 (2^-11 of the value), or by 2^-25 of the factor if the value is much smaller than the factor. The
    factor comes from `first_exponents`, or else from the first block in which the channel is not zero. Both leave room
    for values 2^15 times as large. The exponent of a factor is None where it is not known yet. Values of `dtype`
    float32 are stored unchanged.
    """

    def __init__(self, dtype: np.dtype[Any], exponent: Sequence[int | None]) -> None:
        self._dtype = dtype
        self.exponent = list(exponent)

    @property
    def factors(self) -> tuple[float, ...]:
        """Latent units per stored unit of each channel."""
        return tuple(float(np.ldexp(1.0, value or 0)) for value in self.exponent)

    def pack(self, latent: NDArray[np.float32]) -> NDArray[Any]:
        """Convert latent values (C, h, w), contiguous and writable, to how they are stored.

        float16 values are written over `latent`: new memory would take more time than the conversion. Raises NotFinite
        for a value that is not finite, and Outgrown if a channel no longer fits its scale.
        """
        import torch  # converts to float16 several times faster than NumPy, and the network needs it anyway

        channels = torch.from_numpy(latent)
        # Minimum and maximum give the peak and show whether all values are finite: with a NaN, both are NaN.
        peaks = np.array([max(-low.item(), high.item()) for low, high in map(torch.aminmax, channels)], np.float32)
        if not np.isfinite(peaks).all():
            raise NotFinite
        if self._dtype != np.float16:
            return latent.astype(self._dtype, copy=False)
        self._fit(peaks)
        packed = latent.reshape(-1).view(self._dtype)[: latent.size].reshape(latent.shape)
        for target, values, factor in zip(torch.from_numpy(packed), channels, self.factors, strict=True):
            # The product is in new memory, and a packed channel ends before the next channel's values begin.
            target.copy_(values * (1.0 / factor))
        return packed

    def _fit(self, peaks: NDArray[np.float32]) -> None:
        """Set the factors of channels with their first values; raise Outgrown if other channels do not fit."""
        grown = list(self.exponent)
        for channel in np.flatnonzero(peaks):
            # peak < 2^exponent; the reciprocal of a smaller power of two would not be a float32.
            exponent = max(int(np.frexp(peaks[channel])[1]), _SMALLEST)
            known = self.exponent[channel]
            if known is None:
                self.exponent[channel] = grown[channel] = exponent
            elif exponent > known + _ROOM:
                grown[channel] = exponent
        if grown != self.exponent:
            raise Outgrown(grown)
