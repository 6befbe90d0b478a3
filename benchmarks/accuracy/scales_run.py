"""The cells across scales: each method, fitted at one region size and asked for all of them; targets and ceilings."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pixnet.config import Config, GenesConfig
from pixnet.demo.ask import additivity_error, ask_baseline, ask_field
from pixnet.demo.regions import SIDES, ScaleSettings, asked_regions, draw, slide_name, training_sample
from pixnet.demo.targets import target_arrays
from pixnet.errors import DataError
from pixnet.evaluation.methods import BASELINES, method_settings, method_version, public_facts, seeds_of
from pixnet.evaluation.pixnet_method import Progress, fit_pixnet, pixnet_choices
from pixnet.evaluation.runs import Arrays, Cell, Cells, Stored
from pixnet.regions import Regions
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel, choose_panel
from pixnet.virtual.tissue import VirtualTissue

SCALES_VERSION = 1
"""Raise it when the slides, places, targets or scores across scales change; all runs are then computed again."""


class ScaleCells:
    """Computes the cells that are not there yet.

    Parameters
    ----------
    settings
        What is trained on and asked for.
    configs
        By method, or by `pixnet:NAME` of a variant, the settings of pixnet.
    seeds
        Each method that is random is trained once with each.
    store
        Where they are kept.
    redraws, device, progress
        See `benchmarks.accuracy.scale_run.run_scales`.

    Raises
    ------
    DataError
        If no seed is named.
    """

    def __init__(
        self,
        settings: ScaleSettings,
        configs: Mapping[str, Config],
        seeds: Sequence[int],
        store: Cells,
        redraws: int,
        device: str,
        progress: Progress | None,
    ) -> None:
        if not seeds:
            raise DataError("no seed is named; give one at least.")
        self.settings, self.configs, self.seeds, self.store = settings, configs, seeds, store
        self.redraws, self.device, self.progress = redraws, device, progress or (lambda *_: None)

    @cached_property
    def tissues(self) -> dict[str, list[VirtualTissue]]:
        """All slides, by the side they are on; drawn when the first cell that is not done needs them."""
        pairs = dict(zip(SIDES, (self.settings.training, self.settings.test), strict=True))
        total = sum(map(len, pairs.values()))
        found: dict[str, list[VirtualTissue]] = {side: [] for side in SIDES}
        for side, slides in pairs.items():
            for slide in slides:
                self.progress("tissue", sum(map(len, found.values())), total, self.settings.preset)
                found[side].append(draw(self.settings, slide))
        self.progress("tissue", total, total, self.settings.preset)
        return found

    @cached_property
    def samples(self) -> list[Sample]:
        """The training slides with what was measured on them."""
        training = self.tissues[SIDES[0]]
        return [training_sample(self.settings, tissue, number) for number, tissue in enumerate(training)]

    @cached_property
    def asked(self) -> list[tuple[VirtualTissue, dict[str, Regions]]]:
        """Every slide with the regions that are asked for on it."""
        slides = [tissue for side in SIDES for tissue in self.tissues[side]]
        return [(tissue, asked_regions(tissue, self.settings.places, self.settings.seed)) for tissue in slides]

    def predictions(self, genes: tuple[str, ...]) -> dict[str, dict[int, Stored]]:
        """Give every method's cells, by seed; the first seed of all methods first."""
        cells = [
            (name, self._cell(name, seed, genes))
            for seed in self.seeds
            for name in self.configs
            if seed in seeds_of(method_of(name), self.seeds)
        ]
        stored: dict[str, dict[int, Stored]] = {name: {} for name in self.configs}
        done = sum(self.store.has(cell) for _, cell in cells)
        self.progress("cells", done, len(cells), self.settings.name)
        for name, cell in cells:
            fresh = not self.store.has(cell)
            title = f"{name}, {self.settings.name}, seed {cell.seed}"
            if fresh:
                self.progress("cells", done, len(cells), title)
            stored[name][cell.seed] = self.store.get(cell, partial(self._compute, name, cell.seed, genes, title))
            done += fresh
            self.progress("cells", done, len(cells), title)
        return stored

    def scores_cell(self) -> Cell:
        """Name the cell of all methods' scores: small, and enough to write the tables without any of the others."""
        depends_on = {
            "targets": self._targets_cell().key,
            "methods": [[name, self._method_facts(name)] for name in self.configs],
            "seeds": self.seeds,
            "version": SCALES_VERSION,
        }
        return Cell("scores", self.settings.name, self.settings.seed, depends_on)

    def targets(self) -> Stored:
        """Give targets and best predictions; `chosen` in its facts names the genes."""
        return self.store.get(self._targets_cell(), self._compute_targets)

    def _targets_cell(self) -> Cell:
        depends_on = {"scales": self.settings.facts(), "redraws": self.redraws, "version": SCALES_VERSION}
        return Cell("targets", self.settings.name, self.settings.seed, depends_on)

    def _cell(self, name: str, seed: int, genes: tuple[str, ...]) -> Cell:
        # Variants are told apart by their settings alone: one that equals another shares its cell.
        depends_on = {
            "scales": self.settings.facts(),
            "genes": list(genes),
            "min_counts": self.settings.min_counts,
            **self._method_facts(name),
        }
        return Cell(method_of(name), self.settings.name, seed, depends_on)

    def _method_facts(self, name: str) -> dict[str, Any]:
        method = method_of(name)
        donors = [str(donor) for _, donor in self.settings.training]
        return {
            "settings": method_settings(method, self.configs[name].settled(donors)),
            "version": [SCALES_VERSION, method_version(method)],
        }

    def _compute_targets(self, work: Path) -> tuple[Arrays, dict[str, Any]]:
        panel = choose_panel(self.samples, self.settings.genes, "top-mean", self.settings.min_counts)
        arrays: Arrays = {}
        for number, (tissue, sets) in enumerate(self.asked):
            self.progress("targets", number, len(self.asked), slide_name(tissue))
            found = target_arrays(tissue, sets, panel.names, self.settings.seed, self.redraws)
            arrays |= {f"{slide_name(tissue)}|{key}": table for key, table in found.items()}
        self.progress("targets", len(self.asked), len(self.asked), "")
        return arrays, {"genes": list(panel.names)}

    def _compute(
        self, name: str, seed: int, genes: tuple[str, ...], title: str, work: Path
    ) -> tuple[Arrays, dict[str, Any]]:
        def tell(stage: str, done: int, total: int, words: str) -> None:
            self.progress(stage, done, total, ", ".join(part for part in (title, words) if part))

        if method_of(name) == "pixnet":
            return self._compute_pixnet(self.configs[name], seed, genes, work, tell)
        baseline = BASELINES[name]()
        baseline.fit(self.samples, GenePanel(genes, "list"), self.settings.min_counts, seed, density=True)
        arrays: Arrays = {}
        for number, (tissue, sets) in enumerate(self.asked):
            tell("predict", number, len(self.asked), slide_name(tissue))
            found = ask_baseline(baseline, tissue.slide, sets)
            arrays |= {f"{slide_name(tissue)}|{key}": table for key, table in found.items()}
        return arrays, public_facts(baseline)

    def _compute_pixnet(
        self, config: Config, seed: int, genes: tuple[str, ...], work: Path, tell: Progress
    ) -> tuple[Arrays, dict[str, Any]]:
        training = config.training.model_copy(update={"seed": seed, "min_counts": self.settings.min_counts})
        named = GenesConfig(number=len(genes), names=genes)
        config = config.model_copy(update={"training": training, "genes": named})
        model = fit_pixnet(self.samples, config, work, self.device, self.store.folder / "features", tell)
        fields = work / "fields"
        shutil.rmtree(fields, ignore_errors=True)  # of a sitting that was killed
        arrays: Arrays = {}
        errors = []
        for number, (tissue, sets) in enumerate(self.asked):
            name = slide_name(tissue)
            tell("predict", number, len(self.asked), name)
            field = model.predict(tissue.slide, fields / name, tissue_mask=False, device=self.device)
            arrays |= {f"{name}|{key}": table for key, table in ask_field(field, sets).items()}
            errors.append(additivity_error(field, tissue.slide.width_um, tissue.slide.height_um))
            shutil.rmtree(fields / name)
        known = [error for error in errors if error is not None]
        return arrays, {**pixnet_choices(model), "additivity_error": max(known, default=None)}


def method_of(name: str) -> str:
    """Give the method that a name stands for: that of a variant is pixnet."""
    return name.partition(":")[0]
