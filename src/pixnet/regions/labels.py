"""Regions drawn as the labels of a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.grid import Grid
from pixnet.regions.base import Regions, finite_number, positive_number, whole_numbers
from pixnet.regions.coverage import Floats, Ints, label_coverage


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
