"""A slide with its measured regions and their counts: what a model learns from and is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.regions import Regions
from pixnet.sample.counts import Counts
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
        Raw counts, rows in the order of the regions; an AnnData with raw counts in `X` will do too.
    donor
        The person that the tissue is from.
    platform
        How it was measured.

    Raises
    ------
    DataError
        If counts and regions differ in number, if either is empty, if a count is negative, fractional or not finite,
        if names occur twice, or if a region's centre lies outside the slide.
    """

    id: str
    slide: Slide
    regions: Regions
    counts: Counts
    donor: str | None = None
    platform: str = "unknown"

    def __post_init__(self) -> None:
        if isinstance(self.counts, anndata.AnnData):
            try:
                object.__setattr__(self, "counts", Counts.of(self.counts))
            except DataError as error:
                raise DataError(f"sample {self.id!r}: {error}") from error
        rows, genes = self.counts.shape
        if len(self.regions) != rows:
            raise DataError(
                f"sample {self.id!r}: {rows} rows of counts for {len(self.regions)} regions; "
                "there must be one row for each region."
            )
        if rows == 0 or genes == 0:
            raise DataError(f"sample {self.id!r}: has {rows} regions and {genes} genes; it needs both.")
        self._check_inside()

    @property
    def genes(self) -> pd.Index:
        """Names of the measured genes."""
        return self.counts.genes

    @property
    def depth(self) -> NDArray[np.float64]:
        """(n,) counts of each region over all genes."""
        return self.counts.total

    def take(self, index: NDArray[Any] | Sequence[int]) -> Sample:
        """Give the sample with some of its regions, by whole-number index or boolean mask."""
        rows = np.asarray(index)
        if rows.size == 0:
            rows = rows.astype(np.int64)
        return Sample(self.id, self.slide, self.regions.take(rows), self.counts.take(rows), self.donor, self.platform)

    def to_anndata(self) -> anndata.AnnData:
        """Give the counts as the table that other packages know.

        Returns
        -------
        AnnData
            Rows are regions, columns genes, `X` raw counts (float32 CSR). `obs`: `x_um`, `y_um` and what the platform
            says; `obsm["spatial"]`: x and y of the centres in full-resolution pixels; `var["gene_ids"]` where known.
        """
        counts, centres = self.counts, self.regions.centers_um
        names = counts.region_names()
        obs = pd.DataFrame(index=names) if counts.obs is None else counts.obs.set_axis(names)
        obs = obs.assign(x_um=centres[:, 0], y_um=centres[:, 1])
        var = pd.DataFrame(index=counts.genes)
        if counts.gene_ids is not None:
            var["gene_ids"] = counts.gene_ids.to_numpy()
        table = anndata.AnnData(counts.matrix.copy(), obs=obs, var=var, uns=dict(counts.notes))
        table.obsm["spatial"] = centres / self.slide.mpp
        return table

    def _check_inside(self) -> None:
        # Ten million centres at once would be the largest array of all.
        extent = np.array([self.slide.width_um, self.slide.height_um])
        outside, swapped, first = 0, True, -1
        for start in range(0, len(self.regions), _CHUNK):
            part = self.regions.take(np.arange(start, min(start + _CHUNK, len(self.regions))))
            centres = part.centers_um
            out = ~((centres >= 0) & (centres <= extent)).all(axis=1)
            swapped &= bool(((centres >= 0) & (centres <= extent[::-1])).all())
            if out.any() and first < 0:
                first = start + int(np.argmax(out))
                place = centres[first - start]
            outside += int(out.sum())
        if not outside:
            return
        height, width = self.slide.shape
        cause = "x and y may be swapped" if swapped else "it may be the wrong image or pixel size (mpp)"
        raise DataError(
            f"sample {self.id!r}: {outside} of {len(self.regions)} regions lie outside the slide, such as "
            f"{self.counts.name(first)!r} at x = {place[0]:.0f} um, y = {place[1]:.0f} um; "
            f"{self.slide.path or self.slide.name} is {extent[0]:.0f} x {extent[1]:.0f} um "
            f"({width} x {height} px at {self.slide.mpp:.4g} um/px): {cause}."
        )


def donor_groups(donors: Sequence[str | None]) -> NDArray[np.int64]:
    """Group training samples into those that are left out together when something is chosen by folds inside them.

    What is left out must be as strange as a test slide. So all samples of one donor are a group where there are two
    donors or more, a sample of unknown donor counting as a donor of its own; else each sample is a group.

    Parameters
    ----------
    donors
        The donor of each sample.

    Returns
    -------
    array
        (samples,) numbers from 0, in the order of first appearance.
    """
    names = [(number,) if donor is None else donor for number, donor in enumerate(donors)]
    known = list(dict.fromkeys(names))
    if len(known) < 2:
        return np.arange(len(names))
    return np.array([known.index(name) for name in names], np.int64)


_CHUNK = 1 << 20


def enough_counts(sample: Sample, min_counts: int) -> NDArray[np.bool_]:
    """Tell which regions have at least `min_counts` counts over all genes, (n,)."""
    return np.asarray(sample.depth >= min_counts, np.bool_)
