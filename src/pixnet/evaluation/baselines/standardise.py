"""Features on one scale, learned from the training regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Standardiser:
    """Takes off each feature's training mean and divides by its deviation; a feature that never changes becomes zero.

    Parameters
    ----------
    features
        (n, f) of the training regions.
    groups
        Sizes of groups of features, in order. Each group is given the same weight: its squares sum to one on average.
        By default every feature has variance one.
    """

    def __init__(self, features: NDArray[np.floating], groups: Sequence[int] | None = None) -> None:
        x = features.astype(np.float64)
        self._mean = x.mean(axis=0)
        spread = x.std(axis=0)
        # What hardly differs from its mean is float32's rounding; standardised, it would be noise of full size.
        usable = spread > 1e-5 * np.abs(self._mean)
        weight = 1.0 if groups is None else np.sqrt(np.repeat(groups, groups))
        self._scale = np.divide(1.0, spread * weight, out=np.zeros_like(spread), where=usable)

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Bring features (n, f) to that scale."""
        result: NDArray[np.float64] = (features - self._mean) * self._scale
        return result
