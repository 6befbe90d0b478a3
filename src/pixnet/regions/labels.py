"""Regions given as the labels of a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.grid import Grid
from pixnet.regions.base import Regions, finite_number, positive_number, whole_numbers
from pixnet.regions.coverage import Floats, Ints, label_coverage


class LabelMask(Regions):
    """Regions given as the labels of a mask, such as segmented cells or annotated tissue.

    Parameters
    ----------
    labels
        Label of each pixel of the mask: integers of 0 or more, shape (h, w); 0 is background. Not copied.
    x_um, y_um
        Top-left corner of the mask, in um.
    pitch_um
        Side of a pixel of the mask, in um.
    ids
        Labels of the regions, shape (n,): region i is all pixels with the label `ids[i]`. By default all labels,
        ascending.

    Raises
    ------
    DataError
        If a label is negative or not an integer, the pitch is not positive, or an id has no pixel.
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
            raise DataError(f"the label mask holds {self.labels.min()}; labels must be 1 or more, 0 is background")
        if self.labels.max() > np.iinfo(np.int64).max:
            raise DataError(f"the label mask holds {self.labels.max()}; labels must be below 2**63")
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
            raise DataError(f"{len(missing)} of the ids have no pixel in the label mask; the first is {missing[0]}")
        index = np.searchsorted(present, self.ids)
        pixels, centers, bounds = self._measure(present)
        self._pixels = pixels[index]
        self._centers_um = centers[index]
        self._bounds_um = bounds[index]

    def _measure(self, present: Ints) -> tuple[Ints, Floats, Floats]:
        """Return number of pixels (n,), centre (n, 2) and bounds (n, 4) in um of each label, from its rows."""
        n = len(present)
        pixels = np.zeros(n, dtype=np.int64)
        sums = np.zeros((n, 2))
        low = np.full((n, 2), np.inf)
        high = np.full((n, 2), -np.inf)
        for row, line in enumerate(self.labels):
            # A run of one label is one item: cells are wide, and this is the slow part.
            first = np.flatnonzero(np.concatenate([[True], line[1:] != line[:-1]]))
            end = np.append(first[1:], len(line))
            runs = np.flatnonzero(line[first])
            label = np.searchsorted(present, line[first[runs]])
            first, end = first[runs], end[runs]
            np.add.at(pixels, label, end - first)
            np.add.at(sums[:, 0], label, (end - first) * (first + end) / 2)
            np.add.at(sums[:, 1], label, (end - first) * (row + 0.5))
            np.minimum.at(low[:, 0], label, first)
            np.maximum.at(high[:, 0], label, end)
            low[label, 1] = np.minimum(low[label, 1], row)
            high[label, 1] = row + 1
        corner = np.array([self.x_um, self.y_um])
        bounds = np.concatenate([corner + low * self.pitch_um, corner + high * self.pitch_um], axis=1)
        return pixels, corner + sums / np.maximum(pixels, 1)[:, None] * self.pitch_um, bounds

    @property
    def centers_um(self) -> Floats:
        """Centroids: x and y in um, shape (n, 2)."""
        return self._centers_um

    @property
    def areas_um2(self) -> Floats:
        """Areas in um^2, shape (n,)."""
        return self._pixels.astype(np.float64) * self.pitch_um**2

    @property
    def bounds_um(self) -> Floats:
        """Left, top, right and bottom edges in um, shape (n, 4)."""
        return self._bounds_um

    def coverage(self, grid: Grid) -> sparse.csr_array[np.float64]:
        """Return the areas of the labels within the pixels of a grid in um^2; see `Regions.coverage`."""
        ids, index = np.unique(self.ids, return_inverse=True)
        areas = label_coverage(self.labels, ids, self.x_um, self.y_um, self.pitch_um, grid)
        return areas if np.array_equal(ids, self.ids) else areas[index]
