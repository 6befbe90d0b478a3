from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixnet.features.store import StoredFeatures
from pixnet.field.build.tile import read_tile
from pixnet.grid import Box
from pixnet.network.encoders.base import as_image
from pixnet.network.heads import integrate, to_torch
from pixnet.network.network import Network
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel
from pixnet.training import linear_path
from pixnet.training.config import TrainingConfig
from pixnet.training.features import LiveEncoder, plain_view
from pixnet.training.fit import FitOptions, make_source, prepare
from pixnet.training.linear_path import DEFAULT_SHARE, program_shares, solve_linear_path
from pixnet.training.targets import Targets

Made = tuple[Network, Any, list[Any]]


@pytest.fixture
def made(targets: list[Targets], network_config: Any, training_config: Any, tmp_path: Path) -> Made:
    """Return an untrained network, cached features of the samples and their plain views."""
    return make(targets, network_config(), training_config(), tmp_path)


def make(targets: list[Targets], network_config: Any, training_config: Any, folder: Path) -> Made:
    torch.manual_seed(0)
    network = Network(network_config, outputs=len(targets[0].measured)).eval()
    options = FitOptions(folder)
    source = make_source(network, training_config, options)
    views = [plain_view(target.sample.slide, network, training_config) for target in targets]
    if isinstance(source, StoredFeatures):
        prepare(source, targets, [[view] for view in views], training_config, options)
    return network, source, views


def set_shares(targets: list[Targets], network: Network, source: Any, views: list[Any]) -> list[Targets]:
    """Return the targets with counts of the profiles that a known linear map of the features mixes."""
    rng = np.random.default_rng(0)
    programs = network.head.linear()[0].detach().double().numpy()
    programs /= programs.sum(axis=1, keepdims=True)
    features = [
        linear_path.region_features(network, source, view, target, np.arange(len(target)))
        for view, target in zip(views, targets, strict=True)
    ]
    together = np.concatenate(features)
    sd = together.std(axis=0)[:, None]
    direction = rng.normal(size=(len(sd), len(programs))) * np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 1e-6)
    along = (together - together.mean(axis=0)) @ direction
    result = []
    for target, part in zip(targets, features, strict=True):
        shares = np.maximum(1.0 + 0.4 * ((part - together.mean(axis=0)) @ direction) / along.std(axis=0), 0.05)
        counts = np.round(1e6 * shares / shares.sum(axis=1, keepdims=True) @ programs)
        panel = type(target.panel)(counts[:, :-1])
        result.append(dataclasses.replace(target, panel=panel, total=counts.sum(axis=1).astype(np.float32)))
    return result


def test_it_finds_what_is_linear(made: Made, targets: list[Targets]) -> None:
    network, source, views = made
    known = set_shares(targets, network, source, views)
    solve_linear_path(network, source, known[:2], views[:2], TrainingConfig())
    assert float(network.linear.share) == pytest.approx(DEFAULT_SHARE)  # type: ignore[union-attr]
    solve_linear_path(network, source, known[:2], views[:2], TrainingConfig(linear_share=0.25))
    assert float(network.linear.share) == 0.25  # type: ignore[union-attr]
    weight = network.head.linear()[0].detach()
    shares = program_shares(network, source, views[2], known[2], np.arange(len(known[2])))
    assert shares is not None
    predicted = (shares @ weight / (shares @ weight).sum(dim=1, keepdim=True)).numpy()[:, :-1]
    measured = known[2].panel.toarray() / known[2].total[:, None]
    varying = [np.corrcoef(predicted[:, g], measured[:, g])[0, 1] for g in range(measured.shape[1])]
    assert np.mean(varying) > 0.8


def test_the_map_over_a_region_is_what_was_solved(made: Made, targets: list[Targets]) -> None:
    """The dense map, integrated over a region, is the linear map of the region's mean features."""
    network, source, views = made
    target, view = targets[0], views[0]
    solve_linear_path(network, source, targets, views, TrainingConfig())
    network.linear.share.fill_(1.0)  # type: ignore[union-attr]
    expected = program_shares(network, source, view, target, np.arange(len(target)))
    slide = target.sample.slide
    lattice = network.lattice(slide)  # its halo holds the squares of the linear path
    images, _ = read_tile(slide, lattice, Box(0, 0, lattice.height, lattice.width))
    near, far = (as_image(view.glass.whiten(rgb)) for rgb in (images.near, images.far) if rgb is not None)
    latent = network.latent(near, far)
    integral = integrate(latent[None], to_torch(target.regions.coverage(lattice.grid(network.strides[0]))))
    found = integral / integral.sum(dim=1, keepdim=True)
    # The density weights the pixels of a region, and the map is interpolated, so the two are not equal to the digit.
    assert float((found - expected).abs().max()) < 0.05
    spread = float(expected.std(dim=0).max())  # type: ignore[union-attr]
    assert float((found - expected).abs().mean()) < 0.3 * spread


def test_both_sources_see_the_same(
    targets: list[Targets], network_config: Any, training_config: Any, tmp_path: Path
) -> None:
    network, cached, views = make(targets, network_config(), training_config(), tmp_path)
    live = LiveEncoder(network)
    index = np.arange(0, len(targets[0]), 5)
    of_cached, of_live = (
        linear_path.region_features(network, source, views[0], targets[0], index) for source in (cached, live)
    )
    np.testing.assert_allclose(of_cached, of_live, rtol=2e-3, atol=2e-3)  # the cache is float16
    assert of_live.std(axis=0).max() > 0


def test_heads_of_log_values_have_none(
    samples: list[Sample], panel: GenePanel, network_config: Any, training_config: Any, tmp_path: Path
) -> None:
    targets = [Targets.from_sample(sample, panel, 100, False) for sample in samples[:1]]
    network, source, views = make(targets, network_config(head="mean"), training_config(), tmp_path)
    solve_linear_path(network, source, targets, views, TrainingConfig())
    assert network.linear is None
    assert program_shares(network, source, views[0], targets[0], np.arange(3)) is None


def test_genes_that_only_some_samples_measured_are_left_out(made: Made, targets: list[Targets]) -> None:
    network, source, views = made
    without = targets[1].measured.copy()
    without[0] = False
    panel = targets[1].panel.tolil()
    panel[:, 0] = 1e4  # would be wrong if it were used
    partly = [targets[0], dataclasses.replace(targets[1], measured=without, panel=panel.tocsr())]
    solve_linear_path(network, source, partly, views[:2], TrainingConfig())
    first = network.linear.weight.clone()  # type: ignore[union-attr]
    panel[:, 0] = 0
    solve_linear_path(
        network, source, [partly[0], dataclasses.replace(partly[1], panel=panel.tocsr())], views[:2], TrainingConfig()
    )
    assert torch.equal(first, network.linear.weight)  # type: ignore[union-attr]
    nothing = [dataclasses.replace(target, measured=np.zeros_like(target.measured)) for target in targets]
    network.linear.share.zero_()  # type: ignore[union-attr]
    solve_linear_path(network, source, nothing, views, TrainingConfig())
    assert float(network.linear.share) == 0.0  # type: ignore[union-attr]
