"""A slide with its measured regions and their counts: what a model learns from and is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.regions import Regions
from pixnet.slide import Slide


@dataclass(frozen=True)
class Sample:
    """A slide, the regions measured on it, and what was counted in each.

    Parameters
    ----------
    id
        Name of the sample.
    slide
        The image.
    regions
        The n measured regions, in um.
    counts
        (n, genes) raw counts, rows in the order of the regions, `var_names` gene symbols or ids. The sample keeps
        `X` as float32 CSR, and adds `obs["x_um"]`, `obs["y_um"]` and `obsm["spatial"]` (x, y in full-resolution
        pixels) where they are missing.
    donor
        The person that the tissue is from.
    platform
        How it was measured.

    Raises
    ------
    DataError
        If counts and regions differ in number, if a count is negative, fractional or not finite, if names occur
        twice, or if a region's centre lies outside the slide.
    """

    id: str
    slide: Slide
    regions: Regions
    counts: anndata.AnnData
    donor: str | None = None
    platform: str = "unknown"

    def __post_init__(self) -> None:
        if len(self.regions) != self.counts.n_obs:
            raise DataError(
                f"sample {self.id!r}: {self.counts.n_obs} rows of counts for {len(self.regions)} regions; "
                "there must be one row for each region."
            )
        if self.counts.n_obs == 0 or self.counts.n_vars == 0:
            raise DataError(
                f"sample {self.id!r}: has {self.counts.n_obs} regions and {self.counts.n_vars} genes; it needs both."
            )
        self._check_names(self.counts.var_names, "gene")
        self._check_names(self.counts.obs_names, "region")
        matrix = self._checked_counts(self.counts.X)
        centres = np.asarray(self.regions.centers_um, np.float64)
        self._check_inside(centres)
        object.__setattr__(self, "counts", _completed(self.counts, matrix, centres, self.slide.mpp))

    @property
    def depth(self) -> NDArray[np.float64]:
        """(n,) counts of each region over all genes."""
        return np.asarray(self.counts.X.sum(axis=1, dtype=np.float64), np.float64).ravel()

    def take(self, index: NDArray[Any] | Sequence[int]) -> Sample:
        """Give the sample with some of its regions, by whole-number index or boolean mask."""
        rows = np.asarray(index)
        if rows.size == 0:
            rows = rows.astype(np.int64)
        counts = self.counts[rows].copy()
        return Sample(self.id, self.slide, self.regions.take(rows), counts, self.donor, self.platform)

    def _check_names(self, names: pd.Index, kind: str) -> None:
        twice = names[names.duplicated()]
        if len(twice):
            raise DataError(
                f"sample {self.id!r}: the {kind} {str(twice[0])!r} occurs more than once "
                f"({len(twice)} repeated names in all). Give each {kind} one name."
            )

    def _checked_counts(self, values: Any) -> sparse.csr_matrix:
        if values is None:
            raise DataError(f"sample {self.id!r}: the table of counts has no X. Put the raw counts there.")
        matrix = sparse.csr_matrix(values)
        data = matrix.data
        with np.errstate(invalid="ignore"):
            bad = np.flatnonzero(~np.isfinite(data) | (data < 0) | (data != np.floor(data)))
        if len(bad):
            row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
            gene = self.counts.var_names[matrix.indices[bad[0]]]
            raise DataError(
                f"sample {self.id!r}: region {str(self.counts.obs_names[row])!r} has {data[bad[0]]:g} of gene "
                f"{str(gene)!r} ({len(bad)} such values). Give raw counts: whole numbers from 0 upwards."
            )
        return matrix.astype(np.float32, copy=False)

    def _check_inside(self, centres: NDArray[np.float64]) -> None:
        extent = np.array([self.slide.width_um, self.slide.height_um])
        outside = ~((centres >= 0) & (centres <= extent)).all(axis=1)
        if not outside.any():
            return
        first = int(np.flatnonzero(outside)[0])
        height, width = self.slide.shape
        swapped = bool(((centres >= 0) & (centres <= extent[::-1])).all())
        cause = "x and y may be swapped" if swapped else "the image or its pixel size (mpp) may be the wrong one"
        raise DataError(
            f"sample {self.id!r}: {outside.sum()} of {len(centres)} regions lie outside the slide, such as "
            f"{str(self.counts.obs_names[first])!r} at x = {centres[first, 0]:.0f} um, y = {centres[first, 1]:.0f} um; "
            f"{self.slide.path or self.slide.name} is {extent[0]:.0f} x {extent[1]:.0f} um "
            f"({width} x {height} px at {self.slide.mpp:.4g} um/px). Probably {cause}."
        )


def _completed(
    counts: anndata.AnnData, matrix: sparse.csr_matrix, centres: NDArray[np.float64], mpp: float
) -> anndata.AnnData:
    """Give a table with the sample's matrix and positions, sharing nothing that the caller may change."""
    table = anndata.AnnData(matrix, obs=counts.obs.copy(), var=counts.var.copy(), uns=dict(counts.uns))
    for key, value in counts.obsm.items():
        table.obsm[key] = value
    for key, value in counts.layers.items():
        table.layers[key] = value
    for axis, column in enumerate(("x_um", "y_um")):
        if column not in table.obs:
            table.obs[column] = centres[:, axis]
    if "spatial" not in table.obsm:
        table.obsm["spatial"] = centres / mpp
    return table
