"""The benchmark across scales: cells from where the last sitting ended, then scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.scales_run import ScaleCells, method_of
from pixnet.config import Config
from pixnet.demo.regions import SIDES, ScaleSettings
from pixnet.demo.scores import CEILING, AskedSlide, scale_scores
from pixnet.demo.targets import REDRAWS, Targets
from pixnet.evaluation.methods import check_methods, method_settings
from pixnet.evaluation.pixnet_method import Progress
from pixnet.evaluation.provenance import environment
from pixnet.evaluation.runs import Arrays, Cells, Stored


def run_scales(
    settings: ScaleSettings,
    methods: Sequence[str],
    seeds: Sequence[int],
    cells: str | Path,
    *,
    config: Config | None = None,
    variants: Mapping[str, Config] | None = None,
    redraws: int = REDRAWS,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train methods at one region size and score them at all sizes; see `docs/scales.md`.

    Parameters
    ----------
    settings
        What is trained on and asked for.
    methods
        Of `pixnet.evaluation.methods.METHODS`.
    seeds
        Each method that is random is trained once with each.
    cells
        Folder of the cells. What is done there is not done again.
    config
        Network and training of pixnet.
    variants
        Other configurations of pixnet, scored beside it as `pixnet:NAME`.
    redraws
        See `target_arrays`.
    device
        Of pixnet.
    progress
        Told how far things are.

    Returns
    -------
    dict
        `settings`, `genes`, `scores` (see `scale_scores`), `cells` (key, cost and choices of each) and `environment`.

    Raises
    ------
    DataError
        If a method is unknown, none is named, or another process works on the same cells.
    """
    known = check_methods(methods)
    configs = {name: config or Config() for name in known}
    configs |= {f"pixnet:{name}": variant for name, variant in (variants or {}).items()}
    progress = progress or (lambda *_: None)
    store = Cells(Path(cells))
    computed = ScaleCells(settings, configs, list(dict.fromkeys(seeds)), store, redraws, device, progress)
    scored = computed.scores_cell()
    with store.locked():
        if not store.has(scored):
            targets = computed.targets()
            stored = computed.predictions(tuple(targets.facts["chosen"]["genes"]))
            progress("scores", 0, 1, settings.name)
            store.get(scored, lambda _: ({}, _scored(settings, targets, stored)))
            progress("scores", 1, 1, settings.name)
        found = store.read(scored).facts["chosen"]
    return {
        "name": settings.name,
        "settings": {**settings.facts(), "min_counts": settings.min_counts, "redraws": redraws},
        "genes": found["genes"],
        "seeds": list(computed.seeds),
        "methods": {name: method_settings(method_of(name), one) for name, one in configs.items()},
        "scores": found["scores"],
        "cells": found["cells"],
        "environment": environment(),
    }


def _scored(settings: ScaleSettings, targets: Stored, stored: Mapping[str, Mapping[int, Stored]]) -> dict[str, Any]:
    """Give the scores, with the genes and what each cell tells of itself."""
    every = {CEILING: {settings.seed: targets}, **stored}
    return {
        "genes": targets.facts["chosen"]["genes"],
        "scores": scale_scores(_slides(settings, targets, stored), settings.seed),
        "cells": {name: [one.told() for one in by_seed.values()] for name, by_seed in every.items()},
    }


def _slides(settings: ScaleSettings, targets: Stored, stored: Mapping[str, Mapping[int, Stored]]) -> list[AskedSlide]:
    """Take the arrays of all cells apart by slides."""
    slides = []
    for side, seeds in zip(SIDES, (settings.training, settings.test), strict=True):
        for number, donor in seeds:
            name = f"{settings.preset}-{number}"
            predictions = {
                method: [_of_slide(one.arrays, name) for one in by_seed.values()] for method, by_seed in stored.items()
            }
            own = Targets(_of_slide(targets.arrays, name))
            slides.append(AskedSlide(name, side, f"donor {donor}", own, predictions))
    return slides


def _of_slide(arrays: Arrays, name: str) -> Arrays:
    """Give the arrays of one slide, without its name."""
    return {key.removeprefix(f"{name}|"): table for key, table in arrays.items() if key.startswith(f"{name}|")}
