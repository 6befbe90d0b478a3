"""The methods that can be evaluated: PixNet and the baselines, each fitted on one side of a split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.config import Config, GenesConfig
from pixnet.errors import DataError
from pixnet.evaluation.baselines import BASELINES
from pixnet.evaluation.cost import record_features
from pixnet.evaluation.splits import Split
from pixnet.expression import expected_logs
from pixnet.field import ExpressionField
from pixnet.model import PixNet
from pixnet.regions import Regions
from pixnet.safe.names import file_name
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel
from pixnet.training.config import METHOD_VERSION
from pixnet.training.feature_costs import COSTS, total_costs

METHODS = ("pixnet", *BASELINES)
"""Names of all methods."""

Progress = Callable[[str, int, int, str], None]
"""Called with a stage's name, the work done, the work in all, and a few words."""


@dataclass(frozen=True)
class Options:
    """Where and how PixNet runs: device, folder of cached features (which runs may share) and progress.

    None of it changes a result.
    """

    device: str = "auto"
    cache: str | Path | None = None
    progress: Progress = lambda *_: None


def check_methods(methods: Sequence[str]) -> list[str]:
    """Return the methods, each once; DataError if one is unknown, or none is named."""
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        what = f"method {unknown[0]!r} is not known" if unknown else "no method is named"
        raise DataError(f"{what}; choose from {', '.join(METHODS)}.")
    return list(dict.fromkeys(methods))


def seeds_of(method: str, seeds: Sequence[int]) -> Sequence[int]:
    """Return the seeds that a method is run with: only the first where nothing about it is random."""
    return seeds if method == "pixnet" or BASELINES[method].random else seeds[:1]


def method_settings(method: str, config: Config) -> dict[str, Any]:
    """Return all that a method's result depends on beside samples, genes, `min_counts` and seed."""
    if method == "pixnet":
        training = config.training.model_dump(mode="json", exclude={"seed", "min_counts"})
        return {"network": config.network.model_dump(mode="json"), "training": training}
    return BASELINES[method]().choices()


def method_version(method: str) -> int:
    """Return the version of a method, which its maintainer raises when its numbers change."""
    return METHOD_VERSION if method == "pixnet" else BASELINES[method].METHOD_VERSION


def run_method(
    method: str, split: Split, panel: GenePanel, config: Config, folder: Path, options: Options
) -> tuple[list[NDArray[np.float32]], dict[str, Any]]:
    """Fit a method to the training side and predict the regions of the test side, whose counts are never used.

    `config.training` has the seed and `min_counts` for every method. PixNet leaves `model` and `fields/ID` in `folder`.

    Returns
    -------
    values, chosen
        (n, g) log-normalised values of each test sample, and what was chosen in training, such as a penalty.
    """
    if method == "pixnet":
        named = config.model_copy(update={"genes": GenesConfig(number=len(panel), names=panel.names)})
        model = fit_pixnet(split.train, named, folder, options)
        return predict_pixnet(model, split.test, folder / "fields", options), pixnet_choices(model)
    baseline = BASELINES[method]()
    baseline.fit(split.train, panel, config.training.min_counts, config.training.seed)
    values = [baseline.predict(sample.slide, sample.regions.centers_um) for sample in split.test]
    return values, baseline.choices()


def fit_pixnet(train: Sequence[Sample], config: Config, folder: Path, options: Options) -> PixNet:
    """Train a model and save it to `folder / "model"`; a training that was broken off there goes on."""
    if (folder / "model").is_dir():
        return PixNet.load(folder / "model")
    import torch

    # The result depends on the number of threads, so checkpoints of another number are of no use.
    work = folder / f"training-{torch.get_num_threads()}"
    model = PixNet(config)
    model.fit(
        train,
        work=work,
        cache=options.cache,
        device=options.device,
        resume=True,
        overwrite=True,  # of a training whose note is damaged
        progress=options.progress,
    )
    # Features that an earlier session made belong to this run, even if that session had other threads.
    record_features(folder, options.device, total_costs(sorted(folder.glob(f"training-*/{COSTS}"))))
    model.save(folder / "model")
    for unfinished in folder.glob("training-*"):
        shutil.rmtree(unfinished)
    return model


def pixnet_choices(model: PixNet) -> dict[str, Any]:
    """Return what was chosen in training: steps, and the surroundings that were left to the samples."""
    return {"steps": model.card["steps"], "surroundings_um": model.card["config"]["network"]["surroundings_um"]}


def predict_pixnet(model: PixNet, test: Sequence[Sample], fields: Path, options: Options) -> list[NDArray[np.float32]]:
    """Predict the regions of held-out samples, (n, g) each; their fields are in `fields / ID`."""
    shutil.rmtree(fields, ignore_errors=True)  # left by a session that was killed
    values = []
    for sample in test:

        def report(done: int, total: int, name: str = sample.id) -> None:
            options.progress("predict", done, total, name)

        # Without the tissue mask: every method is scored on the same regions, also where the glass is bare.
        field = model.predict(
            sample.slide, fields / file_name(sample.id), tissue_mask=False, device=options.device, progress=report
        )
        values.append(log_values(field, sample.regions))
    return values


def log_values(field: ExpressionField, regions: Regions) -> NDArray[np.float32]:
    """Return the log-normalised expression that a measurement of n regions is expected to show, all genes of the panel.

    For a `rate` head these are, but for rounding, the layer `log1p_expected` of a query; the others predict these
    values themselves. (n, g), NaN without data.
    """
    if field.head.kind != "rate":
        return np.asarray(field.query(regions).X, np.float32)
    return measured_logs(field.query(regions, field.head.genes).X)


def log_shares(field: ExpressionField, regions: Regions) -> NDArray[np.float32]:
    """Return the log-normalised shares that a field holds for regions, (n, g): which genes, whatever the density."""
    table = field.query(regions)
    if field.head.kind == "rate":
        return np.asarray(table.layers["log1p"], np.float32)
    values = np.asarray(table.X, np.float32)
    return np.asarray(values / regions.areas_um2[:, None] if field.head.kind == "sum" else values, np.float32)


def measured_logs(counts: ArrayLike) -> NDArray[np.float32]:
    """Return the log-normalised expression that a measurement is expected to show, given expected counts.

    The logarithm of an expected count is above the expected logarithm. So the expectation is taken over Poisson counts
    at the region's *predicted* total. `counts` are (n, g + 1), the last column those of all genes outside the panel
    together; the result is (n, g), NaN where no counts are expected at all.
    """
    expected = np.asarray(counts, np.float64)
    return expected_logs(expected[:, :-1], expected.sum(axis=1))
