"""What all kinds of regions have in common, and the checks of what a user hands in."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from pixnet.errors import DataError
from pixnet.grid import Grid
from pixnet.regions.coverage import Floats, Ints


class Regions(ABC):
    """Regions of one kind, in a fixed order; `len` gives their number."""

    _per_region: ClassVar[tuple[str, ...]]
    """Attributes that hold one entry per region, along the first axis."""

    def __len__(self) -> int:
        return len(getattr(self, self._per_region[0]))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} regions>"

    @property
    @abstractmethod
    def centers_um(self) -> Floats:
        """Centre of area of each region, (n, 2) x and y in um."""

    @property
    @abstractmethod
    def areas_um2(self) -> Floats:
        """True geometric area of each region, (n,) in um^2."""

    @property
    @abstractmethod
    def bounds_um(self) -> Floats:
        """Left, top, right and bottom of each region, (n, 4) in um."""

    @abstractmethod
    def coverage(self, grid: Grid) -> sparse.csr_array[np.float64]:
        """Areas of the regions in the cells of a grid.

        Parameters
        ----------
        grid
            Grid to cover; its cells are counted row by row.

        Returns
        -------
        csr_array
            (n, grid.size) float64, in um^2. Parts outside the grid do not appear.
        """

    def integrate(self, grid: Grid, values: Floats) -> Floats:
        """Integrate maps over the regions.

        Parameters
        ----------
        grid
            Grid that the maps are given on.
        values
            (grid.height, grid.width, k): k maps, constant within each cell.

        Returns
        -------
        ndarray
            (n, k), in units of the map times um^2. Parts of a region outside the grid add nothing.
        """
        return np.asarray(self.coverage(grid) @ values.reshape(grid.size, -1))

    def take(self, index: ArrayLike) -> Self:
        """Give some of the regions, in the order asked for.

        Parameters
        ----------
        index
            Whole numbers (negative ones count from the end), or n booleans.

        Returns
        -------
        Regions
            The same kind.

        Raises
        ------
        DataError
            If the index is neither, or points beyond the regions.
        """
        chosen = np.asarray(index)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise DataError(f"a mask for {len(self)} regions needs that many booleans, not {chosen.shape}")
            chosen = np.flatnonzero(chosen)
        elif not chosen.size:
            chosen = np.zeros(0, dtype=np.int64)
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise DataError(f"regions are taken by a list of whole numbers or booleans, not by {chosen.dtype}")
        if len(chosen) and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise DataError(f"the index runs from {chosen.min()} to {chosen.max()}, but there are {len(self)} regions")
        result = copy.copy(self)
        for name in self._per_region:
            setattr(result, name, getattr(self, name)[chosen])
        return result


def finite_array(name: str, value: ArrayLike) -> Floats:
    """Give a float64 copy of an argument; DataError if it is not made of finite numbers."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must hold numbers: {error}") from None
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise DataError(f"{name} holds {bad} values that are not finite; leave those regions out")
    return array


def finite_number(name: str, value: float) -> float:
    """Give an argument as a float; DataError if it is not one finite number."""
    array = finite_array(name, value)
    if array.ndim:
        raise DataError(f"{name} must be one number, not an array of shape {array.shape}")
    return float(array)


def positive_number(name: str, value: float) -> float:
    """Give an argument as a float; DataError if it is not one finite number above zero."""
    number = finite_number(name, value)
    if number <= 0:
        raise DataError(f"{name} is {number:g}; it must be positive")
    return number


def whole_numbers(name: str, value: ArrayLike) -> Ints:
    """Give an int64 copy of an argument; DataError if it is not made of whole numbers."""
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer) and array.size:
        raise DataError(f"{name} must hold whole numbers, not {array.dtype}")
    return array.astype(np.int64)
