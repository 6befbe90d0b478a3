"""A whole training: on everything, or first with a search for the number of steps on a validation part."""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pixnet.errors import DataError, ModelError
from pixnet.files import write_whole
from pixnet.network.network import Network
from pixnet.training.batches import Batcher
from pixnet.training.config import METHOD_VERSION
from pixnet.training.denoise import denoised
from pixnet.training.feature_costs import COSTS, note_cost
from pixnet.training.features import KeptFeatures, LiveEncoder, PyramidSource
from pixnet.training.loop import History, train
from pixnet.training.targets import Targets, split
from pixnet.training.views import View

if TYPE_CHECKING:
    from pixnet.network.config import NetworkConfig
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.training.config import TrainingConfig

Progress = Callable[[str, int, int, str], None]
"""Called with a stage's name, the work done, the work in all, and a few words on how it goes."""


@dataclass(frozen=True)
class Fitted:
    """What training leads to.

    Attributes
    ----------
    network
        In evaluation mode.
    metrics
        One row for each look at it while it was trained.
    steps
        Steps that it took.
    components
        For each sample that was learned from, by id: components of expression that its values were projected onto; 0
        where they were learned as measured. A sample that was only validated on is not there.
    """

    network: Network
    metrics: list[dict[str, float | str]]
    steps: int
    components: dict[str, int]


def fit_network(
    samples: Sequence[Sample],
    panel: GenePanel,
    network_config: NetworkConfig,
    config: TrainingConfig,
    work: Path,
    *,
    features: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    progress: Progress = lambda *_: None,
) -> Fitted:
    """Train a network on samples.

    Parameters
    ----------
    samples
        The training samples.
    panel
        The genes to predict.
    network_config, config
        Settings.
    work
        Folder for checkpoints, metrics and what the features took to make.
    features
        Folder for the kept features of a frozen encoder, which runs may share; `work / "features"` by default.
    device
        `"cpu"` or `"cuda"`.
    resume
        Go on from the checkpoints in `work`, which must belong to the same settings and data.
    progress
        Told how far things are.

    Returns
    -------
    Fitted
        The network is in evaluation mode and holds the kept weights.

    Raises
    ------
    DataError
        If too few regions have enough counts.
    ModelError
        If a run cannot be resumed.
    """
    ids = [sample.id for sample in samples]
    if repeated := {name for name in ids if ids.count(name) > 1}:
        raise DataError(f"sample id {sorted(repeated)[0]!r} occurs twice; give each sample an id of its own.")
    network_config = network_config.settled([sample.donor for sample in samples])
    _open_work(work, _run_key(samples, panel, network_config, config), resume)
    rate = network_config.head == "rate"
    most_genes = max(len(sample.genes) for sample in samples)
    targets = [Targets.of(sample, panel, config.min_counts, rate, most_genes) for sample in samples]
    if sum(map(len, targets)) < 8:
        raise DataError(
            f"{', '.join(ids)}: only {sum(map(len, targets))} regions have {config.min_counts} counts or more; "
            "training needs at least 8. Lower min_counts or give more samples."
        )

    network = _new_network(network_config, targets, config.seed).to(device)
    untrained = copy.deepcopy(network.state_dict())
    source: PyramidSource
    if config.views and not network_config.encoder.trainable:
        widest = max(float((b[:, 2:] - b[:, :2]).max()) for b in (t.regions.bounds_um for t in targets))
        tile = math.ceil(max(config.tile_um, widest) / network_config.mpp) + 2 * network.strides[0]
        source = KeptFeatures(network, features or work / "features", tile)
    else:
        source = LiveEncoder(network)
    views = _draw_views(targets, network, config)
    if isinstance(source, KeptFeatures):
        flat = [view for sample_views in views.values() for view in sample_views]
        for done, view in enumerate(flat):
            progress("features", done, len(flat), view.sample.id)
            note_cost(work / COSTS, source.prepare(view))
        progress("features", len(flat), len(flat), "")

    def batcher(part: Sequence[Targets]) -> Batcher:
        sets = [views[target.sample.id] for target in part]
        jitter = None if config.views else config.stain_jitter
        return Batcher(part, sets, network_config.pitch_um, network.strides[0], config.tile_um, jitter)

    def run(stage: str, part: Sequence[Targets], validation: Sequence[Targets], steps: int) -> History:
        def report(name: str, done: int, total: int, history: History) -> None:
            last = history.rows[-1] if history.rows else {}
            words = ", ".join(f"{key} {last[key]:.3f}" for key in ("loss", "pcc_m") if key in last)
            progress(name, done, total, words)

        held = batcher(validation) if validation else None
        return train(network, source, batcher(part), held, config, stage, steps, work / f"{stage}.ckpt", report)

    def start() -> None:
        network.load_state_dict(untrained)
        draws = np.random.default_rng([config.seed, 2])
        batches = [batcher(targets).draw(config.tiles, draws) for _ in range(4)]
        with torch.no_grad():
            crops = [source.crops(batch.views, batch.wants) for batch in batches]
            network.decoder.learn_scale(crops, [batch.wants for batch in batches])

    def learned_from(part: Sequence[Targets]) -> Sequence[Targets]:
        # What is validated on has no part in the components, and its values stay as they were measured.
        return denoised(part, config.seed) if config.denoise else part

    training, validation = split(targets, config.validation, config.seed)
    learned = learned_from(training)
    start()
    history = run("search" if validation else "fit", learned, validation, config.steps)
    rows, steps = list(history.rows), history.best_step or config.steps
    if validation and config.refit:
        learned = learned_from(targets)
        start()
        rows += run("refit", learned, [], steps).rows
    _write_metrics(work / "metrics.csv", rows)
    components = {target.sample.id: len(target.components or ()) for target in learned}
    return Fitted(network, rows, steps, components)


def _new_network(config: NetworkConfig, targets: Sequence[Targets], seed: int) -> Network:
    """Make a network whose head has the training data's scale."""
    outputs = len(targets[0].measured)
    torch.manual_seed(seed)
    network = Network(config, outputs)
    # Of each output, over the samples that were measured for it alone.
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
    # `sum` grows with the region, so its unit is one log-normalised unit over a mean region.
    unit = areas.sum() / sum(map(len, targets)) if config.head == "sum" else 1.0
    network.head.scale.copy_(torch.from_numpy(np.maximum(sd, 1e-3) / unit))
    network.head.offset.copy_(torch.from_numpy(mean / unit))
    return network


def _draw_views(targets: Sequence[Targets], network: Network, config: TrainingConfig) -> dict[str, list[View]]:
    """Give each sample its views, by id; the first is the slide as it lies, which validation uses."""
    views = {}
    for target in targets:
        slide = target.sample.slide
        own = [View(target.sample, network.lattice(slide), glass=config.glass(slide))]
        for index in range(1, config.views):
            # A view depends on the slide and its number alone, so that runs over other samples find its features.
            key = int(slide.fingerprint()[:12], 16)
            own.append(own[0].redrawn(np.random.default_rng([key, index]), config.stain_jitter))
        views[target.sample.id] = own
    return views


def _run_key(samples: Sequence[Sample], panel: GenePanel, network_config: NetworkConfig, config: TrainingConfig) -> str:
    """Hash all that a run depends on."""
    facts = [
        network_config.model_dump(mode="json"),
        config.model_dump(mode="json"),
        list(panel.names),
        [[s.id, s.slide.fingerprint(), s.slide.mpp, float(s.depth.sum()), _bounds_hash(s)] for s in samples],
        torch.get_num_threads(),
        METHOD_VERSION,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _bounds_hash(sample: Sample) -> str:
    return hashlib.sha256(sample.regions.bounds_um.tobytes()).hexdigest()


def _open_work(work: Path, key: str, resume: bool) -> None:
    """Make the folder ready: emptied of an earlier run's checkpoints, or checked to be this run's own."""
    note = work / "run"
    if resume and note.exists():
        if note.read_text() != key:
            raise ModelError(
                f"{work}: holds a run with other settings, samples or threads, or of another version; train without "
                "--resume to start again."
            )
        return
    if work.exists():
        for leftover in (*work.glob("*.ckpt"), *work.glob("*.part"), *work.glob("metrics.csv"), *work.glob(COSTS)):
            leftover.unlink()
    work.mkdir(parents=True, exist_ok=True)
    write_whole(note, key)


def _write_metrics(path: Path, rows: list[dict[str, float | str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["stage", "step", "loss", "pcc_m", "mse"])
        writer.writeheader()
        writer.writerows(rows)
