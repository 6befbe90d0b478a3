"""The base class of all kinds of regions, and the checks of their arguments."""

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
    """Regions of one kind, in a fixed order; `len` returns their number."""

    _per_region: ClassVar[tuple[str, ...]]
    """Names of the attributes that hold one entry per region, along the first axis."""

    def __len__(self) -> int:
        return len(getattr(self, self._per_region[0]))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} regions>"

    @property
    @abstractmethod
    def centers_um(self) -> Floats:
        """Centroid of each region: x and y in um, shape (n, 2)."""

    @property
    @abstractmethod
    def areas_um2(self) -> Floats:
        """Geometric area of each region in um^2, shape (n,)."""

    @property
    @abstractmethod
    def bounds_um(self) -> Floats:
        """Left, top, right and bottom edge of each region in um, shape (n, 4)."""

    @abstractmethod
    def coverage(self, grid: Grid) -> sparse.csr_array[np.float64]:
        """Return the areas of the regions within the pixels of a grid.

        Parameters
        ----------
        grid
            Grid to cover. Its pixels are numbered row by row.

        Returns
        -------
        csr_array
            Areas in um^2, shape (n, grid.size), float64. Parts of a region outside the grid do not count.
        """

    def integrate(self, grid: Grid, values: Floats) -> Floats:
        """Integrate maps over the regions.

        Parameters
        ----------
        grid
            Grid of the maps.
        values
            The k maps, constant within each pixel, shape (grid.height, grid.width, k).

        Returns
        -------
        ndarray
            Integrals in units of the map times um^2, shape (n, k). Parts of a region outside the grid add nothing.
        """
        return np.asarray(self.coverage(grid) @ values.reshape(grid.size, -1))

    def take(self, index: ArrayLike) -> Self:
        """Return some of the regions, in the order of an index.

        Parameters
        ----------
        index
            List of integers (negative ones count from the end), or n booleans.

        Returns
        -------
        Regions
            Regions of the same kind.

        Raises
        ------
        DataError
            If the index holds neither integers nor n booleans, or if an integer is out of range.
        """
        chosen = np.asarray(index)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise DataError(
                    f"a mask for {len(self)} regions must have the shape ({len(self)},), not {chosen.shape}"
                )
            chosen = np.flatnonzero(chosen)
        elif not chosen.size:
            chosen = np.zeros(0, dtype=np.int64)
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise DataError(
                "regions are chosen by a list of whole numbers or booleans, "
                f"not by {chosen.dtype} of shape {chosen.shape}"
            )
        if len(chosen) and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise DataError(f"the index goes from {chosen.min()} to {chosen.max()}, but there are {len(self)} regions")
        result = copy.copy(self)
        for name in self._per_region:
            setattr(result, name, getattr(self, name)[chosen])
        return result


def finite_array(name: str, value: ArrayLike) -> Floats:
    """Return a float64 copy of an argument; raise DataError if it does not hold finite numbers only."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must hold numbers: {error}") from None
    n_bad = int(array.size - np.isfinite(array).sum())
    if n_bad:
        raise DataError(f"{name} holds {n_bad} values that are not finite; leave those regions out")
    return array


def finite_number(name: str, value: float) -> float:
    """Return an argument as a float; raise DataError if it is not one finite number."""
    array = finite_array(name, value)
    if array.ndim:
        raise DataError(f"{name} must be one number, not an array of shape {array.shape}")
    return float(array)


def positive_number(name: str, value: float) -> float:
    """Return an argument as a float; raise DataError if it is not one finite number above zero."""
    number = finite_number(name, value)
    if number <= 0:
        raise DataError(f"{name} is {number:g}; it must be positive")
    return number


def whole_numbers(name: str, value: ArrayLike) -> Ints:
    """Return an int64 copy of an argument; raise DataError if it does not hold whole numbers only."""
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer) and array.size:
        raise DataError(f"{name} must hold whole numbers, not {array.dtype}")
    return array.astype(np.int64)
