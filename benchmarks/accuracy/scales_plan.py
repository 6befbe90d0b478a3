"""Runs across scales: each method is trained at one size of regions of virtual tissue and predicts all sizes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.accuracy.results import SUMMARY
from pixnet.config import Config, GenesConfig
from pixnet.demo.predictions import additivity_error, predict_baseline, predict_field
from pixnet.demo.regions import ScaleSettings, slide_name, training_sample
from pixnet.demo.scores import CEILING, ScoredSlide, scale_scores
from pixnet.demo.targets import REDRAWS, Targets, target_arrays
from pixnet.errors import DataError
from pixnet.evaluation.methods import (
    BASELINES,
    Options,
    check_methods,
    fit_pixnet,
    method_settings,
    method_version,
    pixnet_choices,
    seeds_of,
)
from pixnet.evaluation.runner import titled
from pixnet.evaluation.runs import Arrays, Run, RunStore, Stored
from pixnet.regions import Regions
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel, choose_panel
from pixnet.scoring.table import ALL
from pixnet.virtual.tissue import VirtualTissue

SCALES_VERSION = 1
"""Raise it when the slides, places, targets or scores across scales change; all runs are then computed again."""


class ScalesPlan:
    """The runs of one virtual tissue and size of training regions.

    Parameters
    ----------
    settings
        Training data and regions to predict.
    configs
        By name of the variant, the settings of PixNet; "" for those of `pixnet` itself.
    methods, seeds
        Each method that is random is trained once with each seed.
    store
        Where runs are stored while they are computed.
    options
        Device and progress.
    redraws
        See `target_arrays`.
    """

    def __init__(
        self, settings: ScaleSettings, configs: Mapping[str, Config], methods: Sequence[str], seeds: Sequence[int],
        store: RunStore, options: Options, redraws: int = REDRAWS,
    ) -> None:  # fmt: skip
        self.name = settings.name
        self.settings = settings
        self.configs = configs
        self.store = store
        self.options = replace(options, cache=store.folder / "features")
        self.redraws = redraws
        names = [("", method) for method in check_methods(methods)]
        names += [(variant, "pixnet") for variant in configs if variant]
        seeds = list(dict.fromkeys(seeds))
        if not seeds:
            raise DataError("no seed is given; give one or more.")
        self.runs = [
            (variant, self._run(variant, method, seed))
            for seed in seeds
            for variant, method in names
            if seed in seeds_of(method, seeds)
        ]
        facts = {**settings.facts(), "min_counts": settings.min_counts, "redraws": redraws}
        depends_on = {"scales": facts, "runs": sorted(run.key for _, run in self.runs), "version": SCALES_VERSION}
        self.summary = Run(SUMMARY, ALL, settings.seed, depends_on)
        self._targets_run = Run("targets", settings.name, settings.seed, {"scales": facts, "version": SCALES_VERSION})

    @cached_property
    def tissues(self) -> dict[tuple[int, int], VirtualTissue]:
        """All slides by their seeds, drawn when something has to be computed."""
        slides, tissues = [*self.settings.training, *self.settings.test], {}
        for number, slide in enumerate(slides):
            self.options.progress("tissue", number, len(slides), self.settings.preset)
            tissues[slide] = self.settings.draw(slide)
        return tissues

    @cached_property
    def slides(self) -> list[tuple[VirtualTissue, dict[str, Regions]]]:
        """Every slide to predict, with the regions to predict on it."""
        tissues = [self.tissues[slide] for group in self.settings.predicted.values() for slide in group]
        return [(tissue, self.settings.regions(tissue)) for tissue in tissues]

    @cached_property
    def samples(self) -> list[Sample]:
        """The measured training slides."""
        training = [self.tissues[slide] for slide in self.settings.training]
        return [training_sample(self.settings, tissue, number) for number, tissue in enumerate(training)]

    @cached_property
    def targets(self) -> Stored:
        """Targets and best predictions of all slides; `chosen` in its facts names the genes."""
        return self.store.get(self._targets_run, self._compute_targets)

    @property
    def genes(self) -> tuple[str, ...]:
        """The genes that are predicted."""
        return tuple(self.targets.facts["chosen"]["genes"])

    def score(self, variant: str, run: Run) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Fit, predict and score a run."""
        stored = self._stored(variant, run)
        scores = scale_scores(self.scored([(variant, run)]), self.settings.seed)
        of_run = (scores["method"] == run.method) & (scores["sample"] != ALL) & (scores["seed"] != ALL)
        return scores[of_run], {**stored.facts, "settings": run.depends_on["settings"]}

    def summarise(self) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Score all runs together."""
        scores = scale_scores(self.scored(self.runs), self.settings.seed)
        return without_runs(scores), {"chosen": {"genes": self.genes}}

    def _run(self, variant: str, method: str, seed: int) -> Run:
        depends_on = {
            "scales": self.settings.facts(),
            "min_counts": self.settings.min_counts,
            "settings": method_settings(method, self.configs[variant]),
            "version": [SCALES_VERSION, method_version(method)],
        }
        return Run(method, self.settings.name, seed, depends_on)

    def _stored(self, variant: str, run: Run) -> Stored:
        title = f"{run.method}{f':{variant}' if variant else ''}, {self.name}, seed {run.seed}"
        options = replace(self.options, progress=titled(self.options.progress, title))
        if not self.store.has(run):
            self._prepare()

        def compute(work: Path) -> tuple[Arrays, dict[str, Any]]:
            if run.method == "pixnet":
                return self._compute_pixnet(self.configs[variant], run.seed, work, options)
            return self._compute_baseline(run.method, run.seed, options)

        return self.store.get(run, compute)

    def _prepare(self) -> None:
        """Draw and measure the slides before a run begins, so that its time does not hold this."""
        _ = self.samples, self.slides, self.genes

    def _compute_targets(self, work: Path) -> tuple[Arrays, dict[str, Any]]:
        panel = choose_panel(self.samples, self.settings.genes, "top-mean", self.settings.min_counts)
        arrays: Arrays = {}
        for number, (tissue, sets) in enumerate(self.slides):
            self.options.progress("targets", number, len(self.slides), slide_name(tissue))
            tables = target_arrays(tissue, sets, panel.names, self.settings.seed, self.redraws)
            arrays |= {f"{slide_name(tissue)}|{key}": table for key, table in tables.items()}
        return arrays, {"genes": list(panel.names)}

    def _compute_baseline(self, method: str, seed: int, options: Options) -> tuple[Arrays, dict[str, Any]]:
        baseline = BASELINES[method]()
        baseline.fit(self.samples, GenePanel(self.genes, "list"), self.settings.min_counts, seed, density=True)
        arrays: Arrays = {}
        for number, (tissue, sets) in enumerate(self.slides):
            options.progress("predict", number, len(self.slides), slide_name(tissue))
            tables = predict_baseline(baseline, tissue.slide, sets)
            arrays |= {f"{slide_name(tissue)}|{key}": table for key, table in tables.items()}
        return arrays, baseline.choices()

    def _compute_pixnet(self, config: Config, seed: int, work: Path, options: Options) -> tuple[Arrays, dict[str, Any]]:
        training = config.training.model_copy(update={"seed": seed, "min_counts": self.settings.min_counts})
        genes = GenesConfig(number=len(self.genes), names=self.genes)
        model = fit_pixnet(
            self.samples, config.model_copy(update={"training": training, "genes": genes}), work, options
        )
        fields = work / "fields"
        shutil.rmtree(fields, ignore_errors=True)  # left by a session that was killed
        arrays: Arrays = {}
        errors = []
        for number, (tissue, sets) in enumerate(self.slides):
            name = slide_name(tissue)
            options.progress("predict", number, len(self.slides), name)
            field = model.predict(tissue.slide, fields / name, tissue_mask=False, device=options.device)
            arrays |= {f"{name}|{key}": table for key, table in predict_field(field, sets).items()}
            errors.append(additivity_error(field, tissue.slide.width_um, tissue.slide.height_um))
            shutil.rmtree(fields / name)
        known = [error for error in errors if error is not None]
        return arrays, {**pixnet_choices(model), "additivity_error": max(known, default=None)}

    def scored(self, runs: Sequence[tuple[str, Run]]) -> list[ScoredSlide]:
        """Return the targets of each slide, and the predictions of some runs for it."""
        targets, slides = self.targets, []
        stored = [(variant, run, self._stored(variant, run)) for variant, run in runs]
        for side, pairs in self.settings.predicted.items():
            for number, donor in pairs:
                name = f"{self.settings.preset}-{number}"
                predictions: dict[str, dict[int, Arrays]] = {}
                for variant, run, of_run in stored:
                    method = f"{run.method}:{variant}" if variant else run.method
                    predictions.setdefault(method, {})[run.seed] = _of_slide(of_run.arrays, name)
                of_slide = Targets(_of_slide(targets.arrays, name))
                slides.append(ScoredSlide(name, side, f"donor {donor}", of_slide, predictions))
        return slides


def without_runs(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `scale_scores` that are of several runs, and those of the ceiling."""
    of_runs = (scores["sample"] != ALL) & (scores["seed"] != ALL) & (scores["method"] != CEILING)
    return scores[~of_runs]


def _of_slide(arrays: Arrays, name: str) -> Arrays:
    """Return the arrays of one slide, without its name."""
    return {key.removeprefix(f"{name}|"): table for key, table in arrays.items() if key.startswith(f"{name}|")}
