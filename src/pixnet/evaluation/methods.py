"""What can be evaluated, and how each method is fitted to one side of a split and asked for the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.config import Config, GenesConfig
from pixnet.errors import DataError
from pixnet.evaluation.baselines import (
    Baseline,
    ColourRidgeBaseline,
    HestRidgeBaseline,
    IstarBaseline,
    KnnBaseline,
    MeanBaseline,
    RidgeBaseline,
    StNetBaseline,
)
from pixnet.evaluation.pixnet_method import Progress, fit_pixnet, pixnet_choices, predict_pixnet
from pixnet.evaluation.splits import Split
from pixnet.sample.panel import GenePanel
from pixnet.training.config import METHOD_VERSION

BASELINES: Mapping[str, Callable[[], Baseline]] = {
    "ridge": RidgeBaseline,
    "mean": MeanBaseline,
    "colour-ridge": ColourRidgeBaseline,
    "hest-ridge": HestRidgeBaseline,
    "knn": KnnBaseline,
    "st-net": StNetBaseline,
    "istar": IstarBaseline,
}
METHODS = ("pixnet", *BASELINES)
"""What can be evaluated."""

_NOT_RANDOM = ("ridge", "mean", "colour-ridge", "hest-ridge", "knn")


def check_methods(methods: Sequence[str]) -> list[str]:
    """Give the methods, each once.

    Raises
    ------
    DataError
        If one is unknown, or none is named.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        what = f"method {unknown[0]!r} is not known" if unknown else "no method is named"
        raise DataError(f"{what}; there are {', '.join(METHODS)}.")
    return list(dict.fromkeys(methods))


def seeds_of(method: str, seeds: Sequence[int]) -> Sequence[int]:
    """Give the seeds that a method is run with: the first alone where nothing about it is random."""
    return seeds[:1] if method in _NOT_RANDOM else seeds


def method_settings(method: str, config: Config) -> dict[str, Any]:
    """Give all that a method's result depends on beside samples, genes, counts needed and seed."""
    if method == "pixnet":
        training = config.training.model_dump(mode="json", exclude={"seed", "min_counts"})
        return {"network": config.network.model_dump(mode="json"), "training": training}
    return public_facts(BASELINES[method]())


def method_version(method: str) -> int:
    """Return the version of a method, which its maintainer raises when its numbers change."""
    return METHOD_VERSION if method == "pixnet" else BASELINES[method]().METHOD_VERSION


def run_method(
    method: str,
    split: Split,
    panel: GenePanel,
    config: Config,
    folder: Path,
    *,
    device: str = "auto",
    features: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[list[NDArray[np.float32]], dict[str, Any]]:
    """Fit a method to the training side and predict the regions of the test side.

    Parameters
    ----------
    method
        One of `METHODS`.
    split
        The two sides. Of the test side, slides and regions are looked at, never counts.
    panel
        Genes.
    config
        Settings; `config.training` has the seed and `min_counts` for every method.
    folder
        For what a method leaves behind: of pixnet, `model` and `fields/<id>`.
    device, features, progress
        Of pixnet.

    Returns
    -------
    values, chosen
        (n, g) log-normalised values of each test sample, and what was chosen in training, such as a penalty.
    """
    if method == "pixnet":
        model = fit_pixnet(split.train, _named(config, panel), folder, device, features, progress)
        return predict_pixnet(model, split.test, folder / "fields", device, progress), pixnet_choices(model)
    baseline = BASELINES[method]()
    baseline.fit(split.train, panel, config.training.min_counts, config.training.seed)
    values = [baseline.predict(sample.slide, sample.regions.centers_um) for sample in split.test]
    return values, public_facts(baseline)


def _named(config: Config, panel: GenePanel) -> Config:
    return config.model_copy(update={"genes": GenesConfig(number=len(panel), names=panel.names)})


def public_facts(baseline: object) -> dict[str, Any]:
    """Give the numbers and words among an object's public attributes."""
    facts = {name: value for name, value in vars(baseline).items() if not name.startswith("_")}
    plain = {name: value for name, value in facts.items() if isinstance(value, bool | int | float | str)}
    return {name: value for name, value in plain.items() if not isinstance(value, float) or math.isfinite(value)}
