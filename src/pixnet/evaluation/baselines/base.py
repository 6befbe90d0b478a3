"""The regions of all training samples as one table: where they lie, whose they are and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.expression import normalise
from pixnet.sample.panel import panel_counts
from pixnet.sample.sample import enough_counts

if TYPE_CHECKING:
    from pixnet.regions import Regions
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide

_Scalar = TypeVar("_Scalar", bound=np.generic)

FEWEST = 8
"""Regions that something can be tuned on."""


@dataclass(frozen=True)
class TrainingRows:
    """Training regions with enough counts, sample after sample.

    Attributes
    ----------
    slides, regions
        Of each sample; the regions are those with enough counts.
    values
        (n, g) log-normalised values; (n, g + 1) with the density.
    owner
        (n,) index of the sample of each region.
    donors
        Of each sample.
    """

    slides: list[Slide]
    regions: list[Regions]
    values: NDArray[np.float64]
    owner: NDArray[np.int64]
    donors: list[str | None]

    @property
    def centers_um(self) -> NDArray[np.float64]:
        """(n, 2) x and y of the regions, each in the frame of its own slide."""
        return np.concatenate([regions.centers_um for regions in self.regions])

    def described(self, describe: Callable[[Slide, NDArray[np.float64]], NDArray[_Scalar]]) -> NDArray[_Scalar]:
        """Describe every region by what the slide shows round its centre.

        Parameters
        ----------
        describe
            Gives (k, ...) for a slide and (k, 2) points.

        Returns
        -------
        array
            (n, ...).
        """
        tables = []
        for slide, regions in zip(self.slides, self.regions, strict=True):
            tables.append(describe(slide, regions.centers_um))
            slide.close()  # an untiled image stays decoded in memory otherwise, one for each sample
        return np.concatenate(tables)


def training_rows(
    samples: Sequence[Sample],
    panel: GenePanel,
    min_counts: int,
    method: str,
    fewest: int = FEWEST,
    density: bool = False,
) -> TrainingRows:
    """Gather the regions of at least `min_counts` counts.

    Parameters
    ----------
    samples, panel, min_counts
        As in `Baseline.fit`.
    method
        Who asks, for the message.
    fewest
        How many regions that takes.
    density
        As in `Baseline.fit`.

    Raises
    ------
    DataError
        If there are fewer, or a sample lacks a gene of the panel.
    """
    values, regions = [], []
    for sample in samples:
        enough = enough_counts(sample, min_counts)
        total = sample.depth[enough]
        regions.append(sample.regions.take(enough))
        columns = [normalise(panel_counts(sample, panel)[enough], total)]
        if density:
            columns.append(normalise(total[:, None], regions[-1].areas_um2))
        values.append(np.hstack(columns).astype(np.float64))
    owner = np.repeat(np.arange(len(samples)), [len(table) for table in values])
    if len(owner) < fewest:
        raise DataError(
            f"{len(owner)} regions of {len(samples)} training samples have {min_counts} counts or more; {method} needs "
            f"{fewest}. Give more samples, or lower min_counts."
        )
    slides, donors = [sample.slide for sample in samples], [sample.donor for sample in samples]
    return TrainingRows(slides, regions, np.concatenate(values), owner, donors)
