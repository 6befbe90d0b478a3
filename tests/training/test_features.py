from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixnet.digest import digest
from pixnet.features import encoding, store
from pixnet.features.store import PreparedView, StoredFeatures
from pixnet.features.views import Symmetry, View
from pixnet.grid import Box
from pixnet.network.crop import Crop
from pixnet.network.network import Network
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.glass import Glass
from pixnet.training.batches import Batcher
from pixnet.training.features import LiveEncoder, boxes_around
from pixnet.training.targets import Targets

TILE_UM = 64.0


@pytest.fixture(scope="module")
def network(network_config: Any) -> Network:
    torch.manual_seed(0)
    return Network(network_config(), 13).eval()


def views_of(network: Network, sample: Sample) -> list[View]:
    lattice = network.lattice(sample.slide)
    plain = [View(sample.slide, lattice, Symmetry.from_index(index)) for index in (0, 3, 6)]
    return [*plain, View(sample.slide, lattice, Symmetry.from_index(5), (1.1, 0.9, 1.05))]


def prepare(cache: StoredFeatures, view: View, target: Targets, reach: int = 72) -> PreparedView:
    return cache.prepare(view, boxes_around(target.regions, view, reach))


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
    cache, live = StoredFeatures(network, folder), LiveEncoder(network)
    for view in views:
        prepare(cache, view, target, tile_of(network, tile_um))
    pitch = float(network.strides[0])
    batcher = Batcher([target], [views], pitch, network.strides[0], tile_um)
    for seed in range(seeds):
        batch = batcher.draw(4, np.random.default_rng(seed))
        with torch.no_grad():
            assert_alike(cache.crops(batch.views, batch.wants), live.crops(batch.views, batch.wants))


def test_cached_features_are_those_of_the_live_encoder(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_PART", 320)  # several blocks, the last ones smaller
    compare(network, targets[0], tmp_path, TILE_UM, number=4)


def test_tiles_much_larger_than_regions_find_their_features(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_PART", 128)  # little is computed by the way
    corner = np.argsort(targets[0].sample.regions.centers_um.sum(axis=1))[:2]
    sample = targets[0].sample.take(corner)
    target = dataclasses.replace(targets[0].take(corner), sample=sample)
    compare(network, target, tmp_path, 224.0, number=1)


def test_boxes_at_the_slides_corners(network: Network, targets: list[Targets], tmp_path: Path) -> None:
    view = views_of(network, targets[0].sample)[1]
    cache, live = StoredFeatures(network, tmp_path), LiveEncoder(network)
    prepare(cache, view, targets[0])
    height, width = (side // network.strides[0] for side in view.shape)
    wants = [Box(-3, -3, 16, 16), Box(-3, width - 13, 16, 16), Box(height - 13, -2, 16, 16)]
    with torch.no_grad():
        assert_alike(cache.crops([view] * 3, wants), live.crops([view] * 3, wants))


def test_cached_features_of_a_vit(
    targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network_config: Any
) -> None:
    monkeypatch.setattr(encoding, "_PART", 700)  # no multiple of its stride
    torch.manual_seed(0)
    network = Network(network_config(name="test_vit", finest=8), 13).eval()
    sample = targets[0].sample
    lattice = network.lattice(sample.slide)
    view = View(sample.slide, lattice, Symmetry.from_index(3))
    cache, live = StoredFeatures(network, tmp_path), LiveEncoder(network)
    prepare(cache, view, targets[0])
    wants = [Box(3, 9, 8, 8), Box(-1, -1, 8, 8)]
    with torch.no_grad():
        assert_alike(cache.crops([view] * 2, wants), live.crops([view] * 2, wants))


def test_training_through_cached_features_predicts_as_live(
    network: Network, targets: list[Targets], tmp_path: Path
) -> None:
    view = views_of(network, targets[0].sample)[3]
    cache, live = StoredFeatures(network, tmp_path), LiveEncoder(network)
    prepare(cache, view, targets[0])
    wants = [Box(7, 12, 16, 16)]
    with torch.no_grad():
        ours, theirs = (network.decode(source.crops([view], wants), wants) for source in (cache, live))
    assert (ours - theirs).abs().max() <= 0.01 * theirs.abs().max()


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what is stored, by name, but for what tells the time."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.name in ("blocks", "index")}


def test_an_interrupted_computation_goes_on_and_ends_the_same(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_PART", 128)
    view = views_of(network, targets[0].sample)[0]
    reads, original = 0, View.read_valid

    def counting(self: View, box: Box, zoom: int = 1) -> Any:
        nonlocal reads
        reads += 1
        if reads == 6:
            raise KeyboardInterrupt
        return original(self, box, zoom)

    monkeypatch.setattr(View, "read_valid", counting)
    with pytest.raises(KeyboardInterrupt):
        prepare(StoredFeatures(network, tmp_path / "broken"), view, targets[0])
    (blocks,) = (path for path in (tmp_path / "broken").rglob("blocks") if path.parent.name.isalnum())
    with blocks.open("ab") as file:
        file.write(b"half a block, before its record was written")
    before = reads
    cache = StoredFeatures(network, tmp_path / "broken")
    assert prepare(cache, view, targets[0]).made
    resumed, reads = reads - before, 7
    prepare(StoredFeatures(network, tmp_path / "whole"), view, targets[0])
    assert resumed == reads - 7 - 5  # parts that were complete are not computed again
    assert files_of(tmp_path / "broken") == files_of(tmp_path / "whole")
    wants = [Box(30, 30, 16, 16)]
    with torch.no_grad():
        assert_alike(cache.crops([view], wants), LiveEncoder(network).crops([view], wants))


def test_features_are_computed_once_for_all_trainings(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = views_of(network, targets[0].sample)[0]
    first = prepare(StoredFeatures(network, tmp_path), view, targets[0])
    monkeypatch.setattr(View, "read_valid", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr(Slide, "read_box", lambda *_: pytest.fail("read again"))
    second = prepare(StoredFeatures(network, tmp_path), view, targets[0])
    assert (first.made, second.made) == (True, False)
    assert (first.seconds or 0) == (second.seconds or 0) > 0
    few = targets[0].take(np.arange(9))
    cache = StoredFeatures(network, tmp_path)
    assert not prepare(cache, view, few).made
    # Nor are they read to draw tiles.
    batcher = Batcher([few], [[view]], float(network.strides[0]), network.strides[0], TILE_UM)
    batch = batcher.draw(2, np.random.default_rng(0))
    cache.crops(batch.views, batch.wants)


def test_tiles_hold_the_pixels_that_the_slide_holds(network: Network, targets: list[Targets], tmp_path: Path) -> None:
    for number in range(4):
        view, again = (views_of(network, targets[0].sample)[number] for _ in range(2))
        prepare(StoredFeatures(network, tmp_path), view, targets[0])
        for want in (Box(-3, -2, 16, 16), Box(10, 8, 16, 16)):
            assert np.array_equal(view.valid(want, 4), again.valid(want, 4))
            ours, theirs = (of.coverage(targets[0].regions, want, 4) for of in (view, again))
            assert ours.nnz
            assert (ours != theirs).nnz == 0


def test_more_regions_extend_what_is_stored(network: Network, targets: list[Targets], tmp_path: Path) -> None:
    view = views_of(network, targets[0].sample)[0]
    corner = targets[0].take(np.arange(2))
    cache = StoredFeatures(network, tmp_path / "grown")
    assert prepare(cache, view, corner).made
    size = len(files_of(tmp_path / "grown"))
    assert prepare(cache, view, targets[0]).made
    assert len(files_of(tmp_path / "grown")) == size
    prepare(StoredFeatures(network, tmp_path / "whole"), view, targets[0])
    grown, whole = (sum(map(len, files_of(tmp_path / name).values())) for name in ("grown", "whole"))
    assert grown == whole
    wants = [Box(30, 30, 8, 8), Box(2, 2, 8, 8)]
    with torch.no_grad():
        assert_alike(cache.crops([view] * 2, wants), LiveEncoder(network).crops([view] * 2, wants))


def test_whatever_features_depend_on_gives_them_a_place_of_their_own(
    network: Network, samples: list[Sample], tmp_path: Path, network_config: Any
) -> None:
    def place(network: Network, view: View) -> Path:
        """Return the folder of the last map, which is that of the surroundings."""
        cache = StoredFeatures(network, tmp_path)
        return cache._open(cache.folder / digest(cache._view_facts(view)))[-1].file.folder

    first = views_of(network, samples[0])
    torch.manual_seed(1)
    other = Network(network_config(), 13).eval()
    finer = Network(network_config(stride=8), 13).eval()
    found = [place(network, view) for view in first]
    found += [place(network, views_of(network, samples[1])[0]), place(other, first[0]), place(finer, first[0])]
    found += [place(network, dataclasses.replace(first[0], glass=Glass((240.0, 230.0, 235.0))))]
    half = dataclasses.replace(first[0].lattice, mpp=0.5)
    found += [place(network, View(samples[0].slide, half))]
    around = [{"surroundings_um": (64.0,), "surroundings_zoom": zoom} for zoom in (1, 2)]
    around += [{"surroundings_um": (96.0,), "surroundings_zoom": 2}]
    for changed in around:
        seeing = Network(network_config().model_copy(update=changed), 13).eval()
        seeing.encoder.load_state_dict(network.encoder.state_dict())
        found += [place(seeing, first[0])]
    assert len(set(found)) == len(found)
    assert place(network, first[0]) == found[0]


def test_features_of_another_version_are_computed_again(
    network: Network, targets: list[Targets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = views_of(network, targets[0].sample)[0]
    assert prepare(StoredFeatures(network, tmp_path), view, targets[0]).made
    monkeypatch.setattr(store, "FEATURES_VERSION", store.FEATURES_VERSION + 1)
    assert prepare(StoredFeatures(network, tmp_path), view, targets[0]).made
    assert not prepare(StoredFeatures(network, tmp_path), view, targets[0]).made


def test_blocks_of_a_vit_have_a_place_of_their_own(tmp_path: Path, network_config: Any) -> None:
    found = set()
    for blocks in ((0, 5), (1, 5)):
        torch.manual_seed(0)
        network = Network(network_config(name="test_vit", finest=8, blocks=blocks), 13).eval()
        found.add(StoredFeatures(network, tmp_path).folder)
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
