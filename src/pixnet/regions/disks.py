"""Round regions, such as the spots of an array."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from pixnet.errors import DataError
from pixnet.grid import Grid
from pixnet.regions.base import Regions, finite_array
from pixnet.regions.coverage import Floats
from pixnet.regions.coverage_disks import disk_coverage, disk_integrals


class Disks(Regions):
    """Round regions, such as the spots of an array.

    Parameters
    ----------
    centers_um
        Centres of the disks: x and y in um, shape (n, 2).
    diameter_um
        Diameter in um: one number for all disks, or shape (n,).

    Raises
    ------
    DataError
        If a centre is not finite, a diameter is not positive, or an array has the wrong shape.
    """

    _per_region = ("_centers_um", "diameters_um")

    def __init__(self, centers_um: ArrayLike, diameter_um: ArrayLike) -> None:
        self._centers_um = finite_array("centers_um", centers_um)
        if self._centers_um.ndim != 2 or self._centers_um.shape[1] != 2:
            raise DataError(f"centers_um must hold x and y of each disk, shape (n, 2), not {self._centers_um.shape}")
        diameters = finite_array("diameter_um", diameter_um)
        n = len(self._centers_um)
        if diameters.shape not in ((), (n,)):
            raise DataError(
                f"diameter_um must be one number or one for each of {n} disks, not an array of shape {diameters.shape}"
            )
        if (diameters <= 0).any():
            raise DataError(f"diameter_um holds {diameters.min():g}; the diameter of a disk must be positive, in um")
        self.diameters_um: Floats = np.broadcast_to(diameters, (n,)).copy()

    @property
    def centers_um(self) -> Floats:
        """Centres: x and y in um, shape (n, 2)."""
        return self._centers_um

    @property
    def areas_um2(self) -> Floats:
        """Areas in um^2, shape (n,)."""
        return np.pi * (self.diameters_um / 2) ** 2

    @property
    def bounds_um(self) -> Floats:
        """Left, top, right and bottom edges in um, shape (n, 4)."""
        radius = self.diameters_um[:, None] / 2
        return np.concatenate([self._centers_um - radius, self._centers_um + radius], axis=1)

    def coverage(self, grid: Grid) -> sparse.csr_array[np.float64]:
        """Return the areas of the disks within the pixels of a grid in um^2; see `Regions.coverage`."""
        return disk_coverage(self._centers_um, self.diameters_um / 2, grid)

    def integrate(self, grid: Grid, values: Floats) -> Floats:
        """Integrate maps over the disks; see `Regions.integrate`."""
        return disk_integrals(self._centers_um, self.diameters_um / 2, grid, values)
