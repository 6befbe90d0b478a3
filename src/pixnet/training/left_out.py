"""Predictions for samples that a second training leaves out: what a model can be expected to do on new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pixnet.features.store import StoredFeatures
from pixnet.network.linear_path import LinearPath
from pixnet.sample.sample import balanced_groups
from pixnet.training.batches import Batcher
from pixnet.training.feature_costs import LEFT_OUT
from pixnet.training.features import plain_view
from pixnet.training.fit import FitOptions, Progress, fit_network, make_source, prepare
from pixnet.training.linear_path import program_shares
from pixnet.training.loop import observed_values, region_integrals
from pixnet.training.objective import log_normalised
from pixnet.training.targets import Targets

if TYPE_CHECKING:
    from pixnet.network.config import NetworkConfig
    from pixnet.network.network import Network
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.training.config import TrainingConfig

SHARES = (0.0, 1.0 / 6.0, 1.0 / 3.0, 1.0 / 2.0, 2.0 / 3.0, 1.0)
"""Shares of the linear path that left-out samples are predicted with."""

_MOST_FOLDS = 3


@dataclass(frozen=True)
class LeftOut:
    """A sample, and what a network that was trained without it predicts for its regions.

    Attributes
    ----------
    sample
        The sample that was left out.
    fold
        Number of the fold that it was left out in.
    predicted
        Log-normalised values, shape (n, genes), by the share of the linear path.
    observed
        Measured log-normalised values, shape (n, genes); NaN for genes that the sample was not measured for.
    centers_um
        Centres of the regions, shape (n, 2).
    """

    sample: Sample
    fold: int
    predicted: dict[float, NDArray[np.float32]]
    observed: NDArray[np.float32]
    centers_um: NDArray[np.float64]


def left_out_folds(samples: Sequence[Sample], by_sample: bool) -> list[list[int]]:
    """Return the samples, by number, that are left out together in each of at most three folds.

    A fold holds whole donors, or samples with `by_sample`, and the folds have about equally many regions. There is none
    if all samples are of one donor, or if there is one sample.
    """
    groups: dict[object, list[int]] = {}
    for number, sample in enumerate(samples):
        # A sample of an unknown donor counts as a donor of its own.
        own = by_sample or sample.donor is None
        groups.setdefault(number if own else sample.donor, []).append(number)
    members = list(groups.values())
    sizes = [sum(len(samples[i].regions) for i in of_group) for of_group in members]
    if len(sizes) < 2:
        return []
    folds = balanced_groups(sizes, min(len(sizes), _MOST_FOLDS))
    return [sorted(i for group in fold for i in members[group]) for fold in folds]


def predict_left_out(
    samples: Sequence[Sample],
    folds: Sequence[Sequence[int]],
    panel: GenePanel,
    network_config: NetworkConfig,
    config: TrainingConfig,
    options: FitOptions,
) -> list[LeftOut]:
    """Train on all but the samples of each fold in turn, and predict these.

    Trainings are in folders `left-out-N` of the work folder, where each can be resumed; features are shared.
    """
    results: list[LeftOut] = []
    most_genes = max(len(sample.genes) for sample in samples)
    cache = options.cache or options.work / "features"
    for number, fold in enumerate(folds):
        progress = _titled(options.progress, f"left out {number + 1} of {len(folds)}")
        own = replace(options, work=options.work / f"{LEFT_OUT}{number}", cache=cache, progress=progress)
        others = [sample for index, sample in enumerate(samples) if index not in fold]
        fitted = fit_network(others, panel, network_config, config, own)
        held_out = [samples[index] for index in fold]
        results += _predicted(held_out, number, panel, fitted.network, config, own, most_genes)
    return results


@torch.no_grad()
def _predicted(
    samples: Sequence[Sample],
    fold: int,
    panel: GenePanel,
    network: Network,
    config: TrainingConfig,
    options: FitOptions,
    most_genes: int,
) -> list[LeftOut]:
    with_other = network.config.head == "rate"
    targets = [Targets.from_sample(sample, panel, config.min_counts, with_other, most_genes) for sample in samples]
    source = make_source(network, config, options)
    views = [plain_view(target.sample.slide, network, config) for target in targets]
    if isinstance(source, StoredFeatures):
        prepare(source, targets, [[view] for view in views], config, options)
    shares = SHARES if network.linear else SHARES[:1]
    results = []
    for target, view in zip(targets, views, strict=True):
        batcher = Batcher([target], [[view]], network.config.pitch_um, network.strides[0], config.tile_um)
        by_share: dict[float, list[NDArray[np.float32]]] = {share: [] for share in shares}
        observed, regions = [], []
        for batch, integral in region_integrals(network, source, batcher, config.tiles):
            programs = program_shares(network, source, view, target, batch.region)
            for share, tables in by_share.items():
                mixed = integral if programs is None else LinearPath.mixed(integral, programs, share)
                values = log_normalised(network.head(mixed, batch.area), network.head, batch.measured)
                tables.append(values.cpu().numpy())
            observed.append(observed_values(batch))
            regions.append(batch.region)
        predicted = {share: np.concatenate(tables) for share, tables in by_share.items()}
        centers = target.regions.centers_um[np.concatenate(regions)]
        results.append(LeftOut(target.sample, fold, predicted, np.concatenate(observed), centers))
    return results


def _titled(progress: Progress, title: str) -> Progress:
    return lambda stage, done, total, text: progress(f"{title}: {stage}", done, total, text)
