"""A complete training: on all regions, or first a search for the number of steps on a validation part."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pixnet.digest import digest
from pixnet.errors import DataError, ModelError
from pixnet.features.store import StoredFeatures, stored_encoder
from pixnet.features.views import View
from pixnet.network.encoders.make import EncoderMaker
from pixnet.network.network import Network
from pixnet.sample.fingerprint import sample_hashes
from pixnet.training.batches import Batcher
from pixnet.training.components import denoised
from pixnet.training.config import METHOD_VERSION
from pixnet.training.feature_costs import COSTS, record_cost
from pixnet.training.features import LiveEncoder, PyramidSource, boxes_around, draw_views, tile_reach
from pixnet.training.linear_path import solve_linear_path
from pixnet.training.loop import History, Stage, Trainer
from pixnet.training.targets import Targets, split
from pixnet.training.work import begin

if TYPE_CHECKING:
    from pixnet.network.config import NetworkConfig
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.training.config import TrainingConfig

_FEWEST_REGIONS = 8
_SCALE_BATCHES = 4  # batches from which the decoder learns the scale of its channels

Progress = Callable[[str, int, int, str], None]
"""Called with a stage's name, the work done, the total work and a short text with the latest metrics."""


@dataclass(frozen=True)
class FitOptions:
    """Where a training runs and what it reports; none of it changes the trained network.

    Attributes
    ----------
    work
        Folder for checkpoints, metrics and the cost of the features.
    cache
        Folder where the features of a frozen encoder are kept, which several trainings may share; `work / "features"`
        by default.
    features
        Folder of features that `pixnet features` made, which are read in place of using the encoder.
    device
        `"cpu"` or `"cuda"`.
    resume
        Continue from the checkpoints in `work`, which must belong to the same settings and data.
    overwrite
        Throw away a training in `work` that is not resumed.
    progress
        Called as the work advances.
    encoders
        Makes the encoder; trainings with the same options share a frozen one.
    """

    work: Path
    cache: Path | None = None
    features: Path | None = None
    device: str = "cpu"
    resume: bool = False
    overwrite: bool = False
    progress: Progress = lambda *_: None
    encoders: EncoderMaker = field(default_factory=EncoderMaker)


@dataclass(frozen=True)
class Fitted:
    """Result of a training."""

    network: Network  # trained, in evaluation mode
    metrics: list[dict[str, float | str]]  # one row per validation step
    steps: int  # that the weights were trained for
    # Number of components that the values of each sample were projected onto, by sample id; 0 where they were learned
    # as measured. Samples used for validation only are left out.
    components: dict[str, int]


def fit_network(
    samples: Sequence[Sample],
    panel: GenePanel,
    network_config: NetworkConfig,
    config: TrainingConfig,
    options: FitOptions,
) -> Fitted:
    """Train a network on samples to predict the genes of a panel.

    Parameters
    ----------
    samples, panel
        The training samples, and the genes to predict.
    network_config, config
        Settings of the network and of its training.
    options
        Folders, device, whether to resume, and a function that progress is reported to.

    Raises
    ------
    DataError
        If a sample id occurs twice, or too few regions have enough counts.
    ModelError
        If the training cannot be resumed, if `work` holds another one, or if the loss does not remain finite.
    """
    _check_ids(samples)
    key = training_key(samples, panel, network_config, config)
    begin(options.work, key, resume=options.resume, overwrite=options.overwrite)
    targets = _make_targets(samples, panel, config.min_counts, with_other=network_config.head == "rate")
    network = _make_network(network_config, targets, config, options).to(options.device)
    source = make_source(network, config, options)
    views = _draw_views(targets, network, config)
    if isinstance(source, StoredFeatures):
        prepare(source, targets, list(views.values()), config, options)

    stages = _Stages(network, source, targets, views, config, options)
    training, validation = split(targets, config.validation, config.seed)
    history, components = stages.run("search" if validation else "fit", training, validation, config.steps)
    metrics = list(history.rows)
    steps = history.best_step or config.steps
    if validation and config.refit:
        history, components = stages.run("refit", targets, [], steps)
        metrics += history.rows
    write_metrics(options.work / "metrics.csv", metrics)
    return Fitted(network, metrics, steps, components)


@dataclass
class _Stages:
    """Runs the stages of one training, each on the same untrained network; views are given by sample id."""

    network: Network
    source: PyramidSource
    targets: Sequence[Targets]
    views: Mapping[str, Sequence[View]]
    config: TrainingConfig
    options: FitOptions

    def __post_init__(self) -> None:
        self._untrained = copy.deepcopy(self.network.trained.state_dict())

    def run(
        self, name: str, training: Sequence[Targets], validation: Sequence[Targets], steps: int
    ) -> tuple[History, dict[str, int]]:
        """Train the network from its start; return the metrics, and the number of components of each sample by id."""
        # The validation part takes no part in finding the components, and its values stay as measured.
        learned = denoised(training, self.config.seed) if self.config.denoise else training
        self._reset()
        checkpoint = self.options.work / f"{name}.ckpt"
        trainer = Trainer(
            self.network,
            self.source,
            self._batcher(learned),
            self._batcher(validation) if validation else None,
            self.config,
            Stage(name, steps, checkpoint, self._report),
        )
        history = trainer.run()
        plain = [self.views[target.sample.id][0] for target in learned]
        solve_linear_path(self.network, self.source, learned, plain, self.config)
        return history, {target.sample.id: len(target.components or ()) for target in learned}

    def _reset(self) -> None:
        """Return to the untrained weights, with the decoder scaled to the training data."""
        self.network.trained.load_state_dict(self._untrained)
        rng = np.random.default_rng([self.config.seed, 2])
        batches = [self._batcher(self.targets).draw(self.config.tiles, rng) for _ in range(_SCALE_BATCHES)]
        with torch.no_grad():
            crops = [self.source.crops(batch.views, batch.wants) for batch in batches]
            self.network.learn_scale(crops, [batch.wants for batch in batches])

    def _batcher(self, part: Sequence[Targets]) -> Batcher:
        views = [self.views[target.sample.id] for target in part]
        jitter = None if self.config.views else self.config.stain_jitter
        pitch_um = self.network.config.pitch_um
        return Batcher(part, views, pitch_um, self.network.strides[0], self.config.tile_um, jitter)

    def _report(self, stage: str, done: int, total: int, history: History) -> None:
        latest = history.rows[-1] if history.rows else {}
        text = ", ".join(f"{name} {latest[name]:.3f}" for name in ("loss", "pcc_m") if name in latest)
        self.options.progress(stage, done, total, text)


def _check_ids(samples: Sequence[Sample]) -> None:
    ids = [sample.id for sample in samples]
    if repeated := {name for name in ids if ids.count(name) > 1}:
        raise DataError(f"sample id {sorted(repeated)[0]!r} occurs twice; give each sample an id of its own.")


def training_key(
    samples: Sequence[Sample], panel: GenePanel, network_config: NetworkConfig, config: TrainingConfig
) -> str:
    """Return a hash of everything that the trained weights depend on.

    That is the settings, the genes, the samples, the number of threads, and `METHOD_VERSION` in place of the code: a
    training may be resumed after the code was renamed or reworded.
    """
    facts = [
        network_config.model_dump(mode="json"),
        config.model_dump(mode="json"),
        list(panel.names),
        [[sample.id, sample.slide.mpp, sample_hashes(sample)] for sample in samples],
        torch.get_num_threads(),
        METHOD_VERSION,
    ]
    return digest(facts)


def _make_targets(samples: Sequence[Sample], panel: GenePanel, min_counts: int, with_other: bool) -> list[Targets]:
    """Return the targets of each sample, and check that there are enough regions to learn from."""
    most_genes = max(len(sample.genes) for sample in samples)
    targets = [Targets.from_sample(sample, panel, min_counts, with_other, most_genes) for sample in samples]
    regions = sum(map(len, targets))
    if regions < _FEWEST_REGIONS:
        raise DataError(
            f"{', '.join(sample.id for sample in samples)}: only {regions} regions have {min_counts} counts or more; "
            f"training needs at least {_FEWEST_REGIONS}. Lower min_counts or give more samples."
        )
    return targets


def _make_network(
    config: NetworkConfig, targets: Sequence[Targets], training: TrainingConfig, options: FitOptions
) -> Network:
    """Return an untrained network whose head has the scale of the training data."""
    torch.manual_seed(training.seed)
    if options.features and (config.encoder.trainable or not training.views):
        raise ModelError(
            "`features` cannot be used: with `trainable = true` or `views = 0` the encoder itself is needed at each "
            "step."
        )
    encoder = stored_encoder(config, options.features) if options.features else options.encoders.make(config.encoder)
    network = Network(config, len(targets[0].measured), encoder)
    # The scale of each output comes from the samples that were measured for it alone.
    measured = np.array([t.measured for t in targets])
    areas = np.array([float(t.regions.areas_um2.sum()) for t in targets])
    if config.head == "rate":
        counts = np.array([t.sums() for t in targets])
        area = np.maximum(areas @ measured, 1e-9)
        network.head.scale.copy_(torch.from_numpy(np.maximum((counts * measured).sum(axis=0), 0.5) / area))
        return network
    regions = np.array([len(t) for t in targets]) @ measured
    total, squares = (
        np.einsum("tg,tg->g", measured, part) for part in zip(*(t.moments() for t in targets), strict=True)
    )
    mean = total / np.maximum(regions, 1)
    sd = np.sqrt(np.maximum(squares / np.maximum(regions, 1) - mean**2, 0.0))
    # The head `sum` grows with the region, so its unit is one log-normalised unit over a region of mean area.
    unit = areas.sum() / sum(map(len, targets)) if config.head == "sum" else 1.0
    network.head.scale.copy_(torch.from_numpy(np.maximum(sd, 1e-3) / unit))
    network.head.offset.copy_(torch.from_numpy(mean / unit))
    return network


def make_source(network: Network, config: TrainingConfig, options: FitOptions) -> PyramidSource:
    """Return the stored features of a frozen encoder with fixed views, otherwise the encoder itself."""
    if not config.views or network.config.encoder.trainable:
        return LiveEncoder(network)
    if options.features:
        return StoredFeatures(network, options.features, read_only=True)
    return StoredFeatures(network, options.cache or options.work / "features")


def _draw_views(targets: Sequence[Targets], network: Network, config: TrainingConfig) -> dict[str, list[View]]:
    """Return the views of each sample, by its id; the first is the slide as it is, which validation uses."""
    views = {}
    for target in targets:
        slide = target.sample.slide
        views[target.sample.id] = draw_views(slide, network, config)
        slide.close()  # decoded images would take up memory until it is the slide's turn
    return views


def prepare(
    source: StoredFeatures,
    targets: Sequence[Targets],
    views: Sequence[Sequence[View]],
    config: TrainingConfig,
    options: FitOptions,
) -> None:
    """Open the features of the views of each sample, compute those that are not stored, and record what they cost."""
    reach = tile_reach([target.regions for target in targets], source.network, config)
    total, done = sum(map(len, views)), 0
    for target, of_sample in zip(targets, views, strict=True):
        for view in of_sample:
            options.progress("features", done, total, target.sample.id)
            prepared = source.prepare(view, boxes_around(target.regions, view, reach))
            record_cost(options.work / COSTS, prepared)
            done += 1
        # Tiles are read from the stored features alone, so a decoded image would only take up memory.
        target.sample.slide.close()
    options.progress("features", total, total, "")


def write_metrics(path: Path, rows: list[dict[str, float | str]]) -> None:
    """Write the metrics of a training as a table, one row per validation step."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["stage", "step", "loss", "pcc_m", "mse"])
        writer.writeheader()
        writer.writerows(rows)
