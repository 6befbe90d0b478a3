"""Leave one donor out on virtual tissue with shifts between donors: train on three, predict the spots of the fourth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import pandas as pd

from benchmarks.accuracy.results import SUMMARY
from benchmarks.accuracy.scales_plan import ScalesPlan, without_runs
from pixnet.config import Config
from pixnet.demo.regions import SIDES, ScaleSettings, training_sample
from pixnet.demo.scores import BEST_OPPONENT, scale_scores
from pixnet.demo.targets import REDRAWS
from pixnet.evaluation.methods import Options
from pixnet.evaluation.runs import Run, RunStore
from pixnet.regions import Regions
from pixnet.sample.sample import enough_counts
from pixnet.scoring.table import ALL
from pixnet.virtual import DONOR_SEEDS, SHIFTS, Shifts, VirtualTissue

SPOT_UM = 100.0
SPOTS = f"{SPOT_UM:g}-µm disk"

DONORS_VERSION = 1
"""Raise it when the scores over all donors change."""


@dataclass(frozen=True)
class DonorSettings(ScaleSettings):
    """One donor left out: the spots of its array are predicted, those with enough counts, and nothing else."""

    shifts: ClassVar[Shifts | None] = SHIFTS

    sizes_um: tuple[float, ...] = (SPOT_UM,)
    side_um: float = 2000.0

    @property
    def name(self) -> str:
        """Name of the fold."""
        return f"{self.preset}-donor-{self.test[0][1]}"

    @property
    def predicted(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """The slide of the donor that is left out."""
        return {SIDES[1]: self.test}

    def draw(self, slide: tuple[int, int]) -> VirtualTissue:
        """Draw a slide, or return it from another fold."""
        return _drawn(self.preset, slide, self.side_um)

    def regions(self, tissue: VirtualTissue) -> dict[str, Regions]:
        """Return the spots with enough counts, as an evaluation of measured samples scores them."""
        sample = training_sample(self, tissue, 0)
        return {SPOTS: sample.regions.take(enough_counts(sample, self.min_counts).nonzero()[0])}


@lru_cache(maxsize=4)  # the donors of one preset
def _drawn(preset: str, slide: tuple[int, int], side_um: float) -> VirtualTissue:
    return VirtualTissue.generate(preset, *slide, side_um, side_um, shifts=SHIFTS)


class DonorsPlan:
    """The runs of one preset: every donor is left out in turn, a `ScalesPlan` each.

    Parameters
    ----------
    preset
        Name of the virtual tissue.
    config
        Settings of PixNet.
    methods, seeds, store, options, redraws
        As of `ScalesPlan`.
    donors
        Slide and donor seed of each donor's slide.
    settings
        More fields of `DonorSettings`.
    """

    def __init__(
        self, preset: str, config: Config, methods: Sequence[str], seeds: Sequence[int], store: RunStore,
        options: Options, redraws: int = REDRAWS, donors: Sequence[tuple[int, int]] = (), **settings: Any,
    ) -> None:  # fmt: skip
        self.name = f"{preset}-donors"
        self.preset = preset
        self.store = store
        donors = tuple(donors or DONOR_SEEDS[preset])
        self.folds = [
            ScalesPlan(
                DonorSettings(preset, training=tuple(d for d in donors if d != left_out), test=(left_out,), **settings),
                {"": config}, methods, seeds, store, options, redraws,
            )
            for left_out in donors
        ]  # fmt: skip
        self.runs = [run for fold in self.folds for run in fold.runs]
        self._fold_of = {run.key: fold for fold in self.folds for _, run in fold.runs}
        depends_on = {"folds": [fold.summary.key for fold in self.folds], "version": DONORS_VERSION}
        self.seed = self.folds[0].settings.seed
        self.summary = Run(SUMMARY, ALL, self.seed, depends_on)

    def score(self, variant: str, run: Run) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Fit, predict and score a run."""
        return self._fold_of[run.key].score(variant, run)

    def summarise(self) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Score all runs together, each donor as a slide of its own; ratios are to the best opponent."""
        slides = [slide for fold in self.folds for slide in fold.scored(fold.runs)]
        scores = scale_scores(slides, self.seed, BEST_OPPONENT)
        return without_runs(scores), {"chosen": {"genes": [fold.genes for fold in self.folds]}}
