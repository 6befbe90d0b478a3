"""A slide with its measured regions and their counts, which models are trained and scored on."""

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
from pixnet.safe.names import as_text
from pixnet.sample.counts import Counts
from pixnet.slide import Slide

_CHUNK = 1 << 20  # regions whose centres are checked at a time


@dataclass(frozen=True)
class Sample:
    """A slide, the regions measured on it, and their counts.

    Parameters
    ----------
    id
        Name of the sample.
    slide
        Image of the tissue.
    regions
        Measured regions, n of them, in um.
    counts
        Raw counts, with rows in the order of the regions; or an AnnData with raw counts in `X`.
    donor
        Person that the tissue is from.
    platform
        Platform that it was measured with.

    Raises
    ------
    DataError
        If counts and regions differ in number, if there are no regions or no genes, if a count is negative, fractional
        or not finite, if a name occurs twice, or if the centre of a region is outside the slide.
    """

    id: str
    slide: Slide
    regions: Regions
    counts: Counts
    donor: str | None = None
    platform: str = "unknown"

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", as_text(self.id))  # it may be the name of a file
        if isinstance(self.counts, anndata.AnnData):
            try:
                object.__setattr__(self, "counts", Counts.from_anndata(self.counts))
            except DataError as error:
                raise DataError(f"sample {self.id!r}: {error}") from error
        rows, genes = self.counts.shape
        if len(self.regions) != rows:
            raise DataError(
                f"sample {self.id!r}: {rows} rows of counts for {len(self.regions)} regions; "
                "there must be one row for each region."
            )
        if rows == 0 or genes == 0:
            raise DataError(f"sample {self.id!r}: has {rows} regions and {genes} genes; it needs at least one of each.")
        self._check_inside()

    @property
    def genes(self) -> pd.Index:
        """Names of the measured genes."""
        return self.counts.genes

    @property
    def depth(self) -> NDArray[np.float64]:
        """Counts of each region over all genes, shape (n,)."""
        return self.counts.total

    def take(self, index: NDArray[Any] | Sequence[int]) -> Sample:
        """Return the sample with some of its regions, chosen by an integer index or a boolean mask."""
        rows = np.asarray(index)
        if rows.size == 0:
            rows = rows.astype(np.int64)
        return Sample(self.id, self.slide, self.regions.take(rows), self.counts.take(rows), self.donor, self.platform)

    def to_anndata(self) -> anndata.AnnData:
        """Return the counts as the table that other packages use.

        Returns
        -------
        AnnData
            Table of regions x genes with raw counts in `X` (float32 CSR). `obs` holds `x_um`, `y_um` and the facts of
            the platform, `obsm["spatial"]` x and y of the centres in full-resolution pixels, and `var["gene_ids"]` the
            Ensembl ids if known.
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
        # Part by part, because the centres of ten million regions would be the largest array of all.
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
    """Return the group of each training sample, numbered from 0 by first appearance; a group is held out together.

    A held-out sample must be as new to the model as a test slide. With two or more donors, the samples of one donor are
    a group; a sample of unknown donor counts as a donor of its own. With one donor, each sample is a group.
    """
    names = [(number,) if donor is None else donor for number, donor in enumerate(donors)]
    groups = list(dict.fromkeys(names))
    if len(groups) < 2:
        return np.arange(len(names))
    return np.array([groups.index(name) for name in names], np.int64)


def held_out_parts(
    donors: Sequence[str | None], owner: NDArray[np.int64], centers_um: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the part of the training data that each of n regions is held out with, shape (n,).

    A part is a donor; a sample, where all are of one donor; a quarter of the tissue, where there is only one sample.

    Parameters
    ----------
    donors
        Donor of each sample.
    owner
        Number of the sample of each region, shape (n,).
    centers_um
        Centres of the regions, shape (n, 2).
    """
    present, number = np.unique(owner, return_inverse=True)
    if len(present) < 2:
        return quarters(centers_um)
    return donor_groups([donors[sample] for sample in present])[number]


def quarters(centers_um: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut points (n, 2) into four blocks of equal numbers: left and right, then each into top and bottom."""
    block = np.zeros(len(centers_um), np.int64)
    for side, half in enumerate(np.array_split(np.argsort(centers_um[:, 0], kind="stable"), 2)):
        top_and_bottom = np.array_split(half[np.argsort(centers_um[half, 1], kind="stable")], 2)
        for end, points in enumerate(top_and_bottom):
            block[points] = 2 * side + end
    return block


def balanced_groups(sizes: Sequence[int], number: int) -> list[list[int]]:
    """Put parts, by number, into groups of about equal size: the largest first, each into the smallest group so far."""
    groups: list[list[int]] = [[] for _ in range(number)]
    for part in sorted(range(len(sizes)), key=lambda part: -sizes[part]):
        min(groups, key=lambda group: sum(sizes[i] for i in group)).append(part)
    return groups


def enough_counts(sample: Sample, min_counts: int) -> NDArray[np.bool_]:
    """Return whether each region has at least `min_counts` counts over all genes, shape (n,)."""
    return np.asarray(sample.depth >= min_counts, np.bool_)
