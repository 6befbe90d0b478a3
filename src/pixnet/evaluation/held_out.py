"""The measured truth of held-out regions, and what was predicted for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixnet.evaluation.splits import Fold
from pixnet.expression import normalise
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel, panel_counts
from pixnet.sample.sample import enough_counts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What one method predicts for the held-out regions, and what that cost; NaN: no prediction, or not known.

    `values` are (n, g) log-normalised expression. `shared_seconds`: time that other runs took for image features which
    this one found ready.
    """

    values: NDArray[np.float32]
    seconds: float
    peak_rss_mb: float
    shared_seconds: float = 0.0


class HeldOut:
    """The measured truth of the held-out samples, one after the other.

    Attributes
    ----------
    counts, observed
        (n, g) raw counts of the panel, and log1p of counts per 10,000.
    total
        (n,) counts over all genes.
    owner
        (n,) which sample a region is of.
    enough
        (n,) whether it has `min_counts` counts; the others are left out of the main scores.
    """

    def __init__(self, samples: Sequence[Sample], panel: GenePanel, min_counts: int) -> None:
        self.samples = list(samples)
        self.panel = panel
        self.counts = np.concatenate([panel_counts(sample, panel) for sample in samples])
        self.total: Floats = np.concatenate([sample.depth for sample in samples])
        self.observed = normalise(self.counts, self.total)
        self.owner = np.repeat(np.arange(len(samples)), [len(sample.regions) for sample in samples])
        self.enough = np.concatenate([enough_counts(sample, min_counts) for sample in samples])

    @property
    def centers_um(self) -> Floats:
        """Centres of the regions, (n, 2)."""
        return np.concatenate([sample.regions.centers_um for sample in self.samples])


@dataclass(frozen=True)
class FoldPredictions:
    """All predictions for one fold: by method, then by seed; there is one seed of a method that is not random."""

    fold: Fold
    held: HeldOut
    predictions: Mapping[str, Mapping[int, Prediction]]
