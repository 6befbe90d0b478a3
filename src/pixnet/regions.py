"""The shapes that a slide is measured in: disks, squares of a lattice, label masks and polygons, in um.

All know their areas, their bounds, and their coverage of a grid: how many um^2 of each cell lie in each region. The
coverage is analytic, with no supersampling, so the parts of a partition add up to the whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.coverage import Floats, Ints, label_coverage
from pixnet.coverage_disks import disk_coverage, disk_integrals
from pixnet.errors import DataError
from pixnet.grid import Grid
from pixnet.regions_base import Regions, finite_array, finite_number, positive_number, whole_numbers
from pixnet.regions_polygons import Polygons
from pixnet.regions_squares import Squares

__all__ = ["Regions", "Disks", "Squares", "Polygons", "LabelMask"]


class Disks(Regions):
    """Round regions, such as the spots of an array.

    Parameters
    ----------
    centers_um
        (n, 2) x and y, in um.
    diameter_um
        One diameter for all, or (n,), in um.

    Raises
    ------
    DataError
        If a centre is not finite, a diameter not positive, or a shape wrong.
    """

    _per_region = ("_centers_um", "diameters_um")

    def __init__(self, centers_um: ArrayLike, diameter_um: ArrayLike) -> None:
        self._centers_um = finite_array("centers_um", centers_um)
        if self._centers_um.ndim != 2 or self._centers_um.shape[1] != 2:
            raise DataError(f"centers_um must hold x and y of each disk, (n, 2), not {self._centers_um.shape}")
        diameters = finite_array("diameter_um", diameter_um)
        n = len(self._centers_um)
        if diameters.shape not in ((), (n,)):
            raise DataError(f"diameter_um must be one number or one for each of {n} disks, not {diameters.shape}")
        if (diameters <= 0).any():
            raise DataError(f"diameter_um holds {diameters.min():g}; a disk's diameter must be positive, in um")
        self.diameters_um: Floats = np.broadcast_to(diameters, (n,)).copy()

    @property
    def centers_um(self) -> Floats:
        """Centres, (n, 2) x and y in um."""
        return self._centers_um

    @property
    def areas_um2(self) -> Floats:
        """Areas, (n,) in um^2."""
        return np.pi * (self.diameters_um / 2) ** 2

    @property
    def bounds_um(self) -> Floats:
        """Left, top, right and bottom, (n, 4) in um."""
        radius = self.diameters_um[:, None] / 2
        return np.concatenate([self._centers_um - radius, self._centers_um + radius], axis=1)

    def coverage(self, grid: Grid) -> sparse.csr_array[np.float64]:
        """Areas of the disks in the cells of a grid, (n, grid.size) in um^2; see `Regions.coverage`."""
        return disk_coverage(self._centers_um, self.diameters_um / 2, grid)

    def integrate(self, grid: Grid, values: Floats) -> Floats:
        """Integrate maps over the disks; see `Regions.integrate`."""
        return disk_integrals(self._centers_um, self.diameters_um / 2, grid, values)


class LabelMask(Regions):
    """Regions drawn as the labels of a mask, such as segmented cells or annotated tissue.

    Parameters
    ----------
    labels
        (h, w) whole numbers, none negative; 0 is background. Not copied.
    x_um, y_um
        Corner of the mask, in um.
    pitch_um
        Side of its pixels, in um.
    ids
        Region i is all pixels whose label is `ids[i]`. By default all labels, ascending.

    Raises
    ------
    DataError
        If the labels are not such numbers, the pitch is not positive, or an id has no pixel.
    """

    _per_region = ("ids", "_pixels", "_centers_um", "_bounds_um")

    def __init__(
        self, labels: NDArray[np.integer], x_um: float, y_um: float, pitch_um: float, ids: ArrayLike | None = None
    ) -> None:
        self.labels = np.asarray(labels)
        if self.labels.ndim != 2 or not np.issubdtype(self.labels.dtype, np.integer):
            raise DataError(
                "a label mask must be an (h, w) array of whole numbers, "
                f"not {self.labels.dtype} of shape {self.labels.shape}"
            )
        if not self.labels.size:
            raise DataError(f"the label mask is empty, of shape {self.labels.shape}")
        if self.labels.min() < 0:
            raise DataError(f"the label mask holds {self.labels.min()}; labels are 1 and above, 0 is background")
        self.x_um = finite_number("x_um", x_um)
        self.y_um = finite_number("y_um", y_um)
        self.pitch_um = positive_number("pitch_um", pitch_um)
        present = np.unique(self.labels).astype(np.int64)
        present = present[present > 0]
        self.ids = present if ids is None else whole_numbers("ids", ids)
        if self.ids.ndim != 1:
            raise DataError(f"ids must be a list of labels, not an array of shape {self.ids.shape}")
        missing = np.setdiff1d(self.ids, present)
        if len(missing):
            raise DataError(f"{len(missing)} of the ids have no pixel in the label mask, the first being {missing[0]}")
        place = np.searchsorted(present, self.ids)
        pixels, centers, bounds = self._measure(present)
        self._pixels, self._centers_um, self._bounds_um = pixels[place], centers[place], bounds[place]

    def _measure(self, present: Ints) -> tuple[Ints, Floats, Floats]:
        """Pixels, centres and bounds of all labels, one row of the mask at a time."""
        n = len(present)
        pixels = np.zeros(n, dtype=np.int64)
        sums = np.zeros((n, 2))
        low = np.full((n, 2), np.inf)
        high = np.full((n, 2), -np.inf)
        for row, line in enumerate(self.labels):
            # Runs of one label count as one item: cells are wide, and this is the slow part.
            first = np.flatnonzero(np.concatenate([[True], line[1:] != line[:-1]]))
            last = np.append(first[1:], len(line))
            runs = np.flatnonzero(line[first])
            place = np.searchsorted(present, line[first[runs]])
            first, last = first[runs], last[runs]
            np.add.at(pixels, place, last - first)
            np.add.at(sums[:, 0], place, (last - first) * (first + last) / 2)
            np.add.at(sums[:, 1], place, (last - first) * (row + 0.5))
            np.minimum.at(low[:, 0], place, first)
            np.maximum.at(high[:, 0], place, last)
            low[place, 1] = np.minimum(low[place, 1], row)
            high[place, 1] = row + 1
        corner = np.array([self.x_um, self.y_um])
        bounds = np.concatenate([corner + low * self.pitch_um, corner + high * self.pitch_um], axis=1)
        return pixels, corner + sums / np.maximum(pixels, 1)[:, None] * self.pitch_um, bounds

    @property
    def centers_um(self) -> Floats:
        """Centres of area, (n, 2) x and y in um."""
        return self._centers_um

    @property
    def areas_um2(self) -> Floats:
        """Areas, (n,) in um^2."""
        return self._pixels.astype(np.float64) * self.pitch_um**2

    @property
    def bounds_um(self) -> Floats:
        """Left, top, right and bottom, (n, 4) in um."""
        return self._bounds_um

    def coverage(self, grid: Grid) -> sparse.csr_array[np.float64]:
        """Areas of the labels in the cells of a grid, (n, grid.size) in um^2; see `Regions.coverage`."""
        ids, place = np.unique(self.ids, return_inverse=True)
        areas = label_coverage(self.labels, ids, self.x_um, self.y_um, self.pitch_um, grid)
        return areas if np.array_equal(ids, self.ids) else areas[place]
