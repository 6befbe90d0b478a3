from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixnet.grid import Box
from pixnet.network.crop import Crop
from pixnet.network.network import Network
from pixnet.sample import Sample
from pixnet.slide.glass import Glass
from pixnet.training import features
from pixnet.training.batches import Batcher
from pixnet.training.features import CachedFeatures, LiveEncoder
from pixnet.training.targets import Targets
from pixnet.training.views import Symmetry, View

TILE_UM = 64.0


@pytest.fixture(scope="module")
def network(network_config: Any) -> Network:
    torch.manual_seed(0)
    return Network(network_config(), 13).eval()


def views_of(network: Network, sample: Sample) -> list[View]:
    lattice = network.lattice(sample.slide)
    plain = [View(sample, lattice, Symmetry.from_index(index)) for index in (0, 3, 6)]
    return [*plain, View(sample, lattice, Symmetry.from_index(5), (1.1, 0.9, 1.05))]


def tile_of(network: Network, tile_um: float) -> int:
    return math.ceil(tile_um) + 2 * network.strides[0]


def assert_alike(cached: list[Crop], live: list[Crop]) -> None:
    assert len(cached) == len(live)
    for ours, theirs in zip(cached, live, strict=True):
        assert (list(ours.rows), list(ours.cols)) == (list(theirs.rows), list(theirs.cols))
        assert ours.feature.shape == theirs.feature.shape
        assert ours.feature.dtype == torch.float32
        largest = theirs.feature.abs().max()
        assert largest > 0
        assert (ours.feature - theirs.feature).abs().max() <= largest * 2**-10


def compare(network: Network, target: Targets, folder: Path, tile_um: float, number: int, seeds: int = 2) -> None:
    """Compare the crops of drawn batches through some views."""
    views = views_of(network, target.sample)[-number:]
    cache, live = CachedFeatures(network, folder, tile_of(network, tile_um)), LiveEncoder(network)
    for view in views:
        cache.prepare(view)
    pitch = float(network.strides[0])
    batcher = Batcher([target], [views], pitch, network.strides[0], tile_um)
    for seed in range(seeds):
        batch = batcher.draw(4, np.random.default_rng(seed))
        with torch.no_grad():
            assert_alike(cache.crops(batch.views, batch.wants), live.crops(batch.views, batch.wants))


def test_cached_features_are_those_of_the_live_encoder(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_CORE", 320)  # several blocks, the last ones smaller
    compare(network, targets[0], tmp_path, TILE_UM, number=4)


def test_tiles_much_larger_than_regions_find_their_features(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_CORE", 128)  # little is computed by the way
    corner = np.argsort(targets[0].sample.regions.centers_um.sum(axis=1))[:2]
    sample = targets[0].sample.take(corner)
    target = dataclasses.replace(targets[0].take(corner), sample=sample)
    compare(network, target, tmp_path, 224.0, number=1)


def test_boxes_at_the_slides_corners(network: Network, targets: list[Targets], tmp_path: Path) -> None:
    view = views_of(network, targets[0].sample)[1]
    cache, live = CachedFeatures(network, tmp_path, tile_of(network, TILE_UM)), LiveEncoder(network)
    cache.prepare(view)
    height, width = (side // network.strides[0] for side in view.shape)
    wants = [Box(-3, -3, 16, 16), Box(-3, width - 13, 16, 16), Box(height - 13, -2, 16, 16)]
    with torch.no_grad():
        assert_alike(cache.crops([view] * 3, wants), live.crops([view] * 3, wants))


def test_cached_features_of_a_vit(
    targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network_config: Any
) -> None:
    monkeypatch.setattr(features, "_CORE", 700)  # no multiple of its stride
    torch.manual_seed(0)
    network = Network(network_config(name="test_vit", finest=8), 13).eval()
    sample = targets[0].sample
    lattice = network.lattice(sample.slide)
    view = View(sample, lattice, Symmetry.from_index(3))
    cache, live = CachedFeatures(network, tmp_path, tile_of(network, TILE_UM)), LiveEncoder(network)
    cache.prepare(view)
    wants = [Box(3, 9, 8, 8), Box(-1, -1, 8, 8)]
    with torch.no_grad():
        assert_alike(cache.crops([view] * 2, wants), live.crops([view] * 2, wants))


def test_training_through_cached_features_predicts_as_live(
    network: Network, targets: list[Targets], tmp_path: Path
) -> None:
    view = views_of(network, targets[0].sample)[3]
    cache, live = CachedFeatures(network, tmp_path, tile_of(network, TILE_UM)), LiveEncoder(network)
    cache.prepare(view)
    wants = [Box(7, 12, 16, 16)]
    with torch.no_grad():
        ours, theirs = (network.decode(source.crops([view], wants), wants) for source in (cache, live))
    assert (ours - theirs).abs().max() <= 0.01 * theirs.abs().max()


def computed(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/complete.json")}


def test_an_interrupted_computation_is_done_again(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = views_of(network, targets[0].sample)[0]
    reads = 0

    def failing(self: View, box: Box, zoom: int = 1) -> Any:
        nonlocal reads
        reads += 1
        if reads > 2:
            raise KeyboardInterrupt
        return original(self, box, zoom)

    original = View.read
    monkeypatch.setattr(features, "_CORE", 128)
    monkeypatch.setattr(View, "read", failing)
    tile = tile_of(network, TILE_UM)
    with pytest.raises(KeyboardInterrupt):
        CachedFeatures(network, tmp_path, tile).prepare(view)
    assert list(tmp_path.rglob("*.npy"))  # it has begun
    assert not computed(tmp_path)
    monkeypatch.setattr(View, "read", original)
    cache = CachedFeatures(network, tmp_path, tile)
    cache.prepare(view)
    assert len(computed(tmp_path)) == 1
    wants = [Box(30, 30, 16, 16)]
    with torch.no_grad():
        assert_alike(cache.crops([view], wants), LiveEncoder(network).crops([view], wants))


def test_features_are_computed_once_for_all_trainings(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = views_of(network, targets[0].sample)[0]
    first = CachedFeatures(network, tmp_path, 72).prepare(view)
    monkeypatch.setattr(View, "read", lambda *_: pytest.fail("read again"))
    second = CachedFeatures(network, tmp_path, 72).prepare(view)
    assert (first.made, second.made) == (True, False)
    assert first.seconds == second.seconds > 0
    again = views_of(network, targets[0].sample)[0]
    CachedFeatures(network, tmp_path, 72).prepare(again)


def test_whatever_features_depend_on_gives_them_a_place_of_their_own(
    network: Network, targets: list[Targets], samples: list[Sample], tmp_path: Path, network_config: Any
) -> None:
    def keys(network: Network, view: View, tile: int = 72) -> str:
        return CachedFeatures(network, tmp_path, tile)._key(view)

    first = views_of(network, targets[0].sample)
    torch.manual_seed(1)
    other = Network(network_config(), 13).eval()
    finer = Network(network_config(stride=8), 13).eval()
    found = [keys(network, view) for view in first]
    found += [keys(network, views_of(network, samples[1])[0]), keys(other, first[0]), keys(finer, first[0])]
    found += [keys(network, views_of(network, targets[0].sample.take(np.arange(9)))[0]), keys(network, first[0], 400)]
    found += [keys(network, dataclasses.replace(first[0], glass=Glass((240.0, 230.0, 235.0))))]
    half = dataclasses.replace(first[0].lattice, mpp=0.5)
    found += [keys(network, View(targets[0].sample, half))]
    around = [{"surroundings_um": (64.0,), "surroundings_zoom": zoom} for zoom in (1, 2)]
    around += [{"surroundings_um": (96.0,), "surroundings_zoom": 2}]
    for changed in around:
        seeing = Network(network_config().model_copy(update=changed), 13).eval()
        seeing.encoder.load_state_dict(network.encoder.state_dict())
        found += [keys(seeing, first[0])]
    assert len(set(found)) == len(found)
    assert keys(network, first[0]) == found[0]


def test_features_of_another_version_are_computed_again(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = views_of(network, targets[0].sample)[0]
    cache = CachedFeatures(network, tmp_path, 72)
    assert cache.prepare(view).made
    monkeypatch.setattr(features, "FEATURES_VERSION", features.FEATURES_VERSION + 1)
    assert cache.prepare(view).made
    assert not cache.prepare(view).made
    assert len(computed(tmp_path)) == 2


def test_blocks_of_a_vit_have_a_place_of_their_own(targets: list[Targets], tmp_path: Path, network_config: Any) -> None:
    found = set()
    for blocks in ((0, 5), (1, 5)):
        torch.manual_seed(0)
        network = Network(network_config(name="test_vit", finest=8, blocks=blocks), 13).eval()
        found.add(CachedFeatures(network, tmp_path, 72)._key(views_of(network, targets[0].sample)[0]))
    assert len(found) == 2


def test_the_live_encoder_passes_gradients(targets: list[Targets], network_config: Any) -> None:
    torch.manual_seed(0)
    network = Network(network_config(trainable=True), 13).train()
    view = views_of(network, targets[0].sample)[1]
    crops = LiveEncoder(network).crops([view], [Box(5, 6, 16, 16)])
    sum(crop.feature.square().mean() for crop in crops).backward()  # type: ignore[union-attr]
    assert sum(float(p.grad.abs().sum()) for p in network.encoder.parameters() if p.grad is not None) > 0


def test_tiles_of_a_convolutional_encoder_are_computed_together(
    network: Network, targets: list[Targets], monkeypatch: pytest.MonkeyPatch
) -> None:
    view, seen = views_of(network, targets[0].sample)[0], []
    encoder = network.encoder.forward
    monkeypatch.setattr(
        network.encoder, "forward", lambda image, *rest: seen.append(len(image)) or encoder(image, *rest)
    )
    with torch.no_grad():
        LiveEncoder(network).crops([view] * 3, [Box(5, 6, 16, 16), Box(40, 30, 16, 16), Box(11, 50, 16, 16)])
    assert seen == [3] * (2 if network.far_halo else 1)
