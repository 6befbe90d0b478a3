from __future__ import annotations

import numpy as np
import pytest
import torch

from pixnet.features.views import Symmetry, View
from pixnet.grid import Box, Lattice
from pixnet.sample import Sample
from pixnet.training.batches import Batch, Batcher
from pixnet.training.objective import _within_samples
from pixnet.training.targets import Targets, split

FINEST, PITCH = 4, 4.0
DISK = np.pi * 15.0**2


def views_of(sample: Sample) -> list[View]:
    lattice = Lattice(sample.slide.width_um, sample.slide.height_um, 1.0, 32, 32)
    return [View(sample.slide, lattice, Symmetry.from_index(index)) for index in range(8)]


def batcher_of(parts: list[Targets], whole: list[Targets], tile_um: float = 64.0) -> Batcher:
    views = {t.sample.id: views_of(t.sample) for t in whole}
    return Batcher(parts, [views[t.sample.id] for t in parts], PITCH, FINEST, tile_um)


def centres(batch: Batch) -> np.ndarray:
    """Find the centre of each row of the coverage, in um on the slide."""
    dense = batch.coverage.to_dense().numpy().astype(np.float64)
    size = batch.wants[0].height * batch.wants[0].width
    rows = []
    for row in dense:
        tile = int(np.flatnonzero(row)[0] // size)
        view, want = batch.views[tile], batch.wants[tile]
        areas = row[tile * size : (tile + 1) * size].reshape(want.height, want.width)
        assert np.isclose(areas.sum(), row.sum())  # no part of it in another tile
        # Turn the tile back to its position on the slide.
        numbers = view.symmetry.apply(np.arange(size).reshape(_swapped(view, want)))
        plain = np.empty(size)
        plain[numbers.ravel()] = areas.ravel()
        plain = plain.reshape(_swapped(view, want))
        grid = view.lattice.grid(FINEST)
        origin = view.symmetry.original(want, grid.height, grid.width)
        y = (plain.sum(1) @ (np.arange(plain.shape[0]) + 0.5) / plain.sum() + origin.row) * PITCH
        x = (plain.sum(0) @ (np.arange(plain.shape[1]) + 0.5) / plain.sum() + origin.col) * PITCH
        rows.append((x, y))
    return np.array(rows)


def _swapped(view: View, want: Box) -> tuple[int, int]:
    return (want.width, want.height) if view.symmetry.transpose else (want.height, want.width)


@pytest.mark.parametrize("how", ["none", "block", "sample"])
def test_areas_and_targets_belong_to_the_same_regions(targets: list[Targets], how: str) -> None:
    for part in split(targets, how, 0):
        if not part:
            continue
        batcher = batcher_of(part, targets)
        for seed in range(3):
            batch = batcher.draw(5, np.random.default_rng(seed))
            assert len(batch.total) >= 5
            at = centres(batch)
            for number in range(len(at)):
                target = part[int(batch.sample[number])]
                near = np.abs(target.regions.centers_um - at[number]).sum(axis=1).argmin()
                assert np.allclose(target.regions.centers_um[near], at[number], atol=0.3)
                assert np.array_equal(target.dense()[0][near], batch.counts[number].numpy())
                assert np.array_equal(target.dense()[1][near], batch.values[number].numpy())
                assert target.total[near] == batch.total[number]


def test_only_whole_regions_count_and_rows_add_up_to_their_area(targets: list[Targets]) -> None:
    batcher = batcher_of(targets, targets)
    for seed in range(5):
        batch = batcher.draw(6, np.random.default_rng(seed))
        assert np.allclose(batch.coverage.to_dense().sum(1).numpy(), batch.area.numpy(), rtol=1e-6)
        assert np.allclose(batch.area.numpy(), DISK, rtol=1e-5)  # a disk cut by the tile would have less
        assert batch.coverage.shape == (len(batch.total), 6 * batcher.side**2)
        assert all((want.height, want.width) == (batcher.side, batcher.side) for want in batch.wants)


def test_every_region_inside_a_tile_is_there(targets: list[Targets]) -> None:
    batcher = batcher_of(targets[:1], targets[:1], tile_um=160.0)
    batch = batcher.draw(1, np.random.default_rng(4))
    grid = batch.views[0].lattice.grid(FINEST)
    box = batch.views[0].symmetry.original(batch.wants[0], grid.height, grid.width)
    left, top, right, bottom = grid.crop(box.row, box.col, box.height, box.width).bounds_um
    bounds = targets[0].regions.bounds_um
    inside = (bounds[:, :2] >= (left, top)).all(1) & (bounds[:, 2:] <= (right, bottom)).all(1)
    assert len(batch.total) == inside.sum() > 3


def test_a_tile_is_widened_for_a_large_region(targets: list[Targets]) -> None:
    batcher = batcher_of(targets, targets, tile_um=10.0)
    assert batcher.side * PITCH >= 30.0
    assert np.allclose(batcher.draw(4, np.random.default_rng(0)).area.numpy(), DISK, rtol=1e-5)


def test_regions_are_drawn_equally_from_a_few_samples(targets: list[Targets]) -> None:
    some = [targets[0].take(np.arange(8)), targets[1], targets[2]]
    batcher = batcher_of(some, targets)
    drawn = [batcher.draw(10, np.random.default_rng(seed)) for seed in range(30)]
    tiles = np.array([view.slide is some[0].sample.slide for batch in drawn for view in batch.views])
    assert tiles.mean() == pytest.approx(8 / (8 + 48 + 48), abs=0.06)
    assert len({view.symmetry for batch in drawn for view in batch.views}) == 8


def test_of_many_samples_each_counts_as_much(targets: list[Targets]) -> None:
    """However many regions it has."""
    small = targets[0].take(np.arange(8))
    batcher = batcher_of([small, *(targets[1] for _ in range(9))], targets)
    drawn = [batcher.draw(16, np.random.default_rng(seed)) for seed in range(60)]
    for batch in drawn:
        assert len(batch.views) == 16
    tiles = np.array([view.slide is small.sample.slide for batch in drawn for view in batch.views])
    assert tiles.mean() == pytest.approx(0.1, abs=0.03)  # 0.018 of the regions


def test_of_a_hundred_samples_a_batch_has_several_regions_each(targets: list[Targets]) -> None:
    """At most a tenth of the variance between samples is left once their means have moved (`within_samples`)."""
    hundred = [targets[number % 3] for number in range(100)]
    batch = batcher_of(hundred, targets, tile_um=30.0).draw(32, np.random.default_rng(0))
    numbers, regions = np.unique(batch.sample.numpy(), return_counts=True)
    assert len(numbers) == 8
    assert regions.min() >= 4
    offsets = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))[batch.sample]
    of_sample = torch.nn.functional.one_hot(batch.sample, 100).float()
    left = _within_samples(offsets, of_sample, torch.ones_like(offsets))
    assert float(left.var() / offsets.var()) <= 0.1


def test_a_sweep_takes_each_region_once_through_the_plain_view(targets: list[Targets]) -> None:
    part = split(targets[:2], "block", 0)[1]
    batcher = batcher_of(part, targets)
    numbers, at, values = [], [], []
    for batch, index in batcher.sweep(5):
        assert len(batch.views) == len(index) == len(batch.total)
        assert all(view.symmetry == Symmetry() for view in batch.views)
        numbers.append(index)
        at.append(centres(batch))
        values.append(batch.values.numpy())
        assert np.allclose(batch.area.numpy(), DISK, rtol=1e-5)
    assert np.array_equal(np.concatenate(numbers), np.arange(sum(map(len, part))))
    assert np.allclose(np.concatenate(at), np.concatenate([t.regions.centers_um for t in part]), atol=0.3)
    assert np.array_equal(np.concatenate(values), np.concatenate([t.dense()[1] for t in part]))


def test_a_draw_follows_from_its_generator(targets: list[Targets]) -> None:
    batcher = batcher_of(targets, targets)
    one, two, other = (batcher.draw(4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.wants == two.wants
    assert one.wants != other.wants
    assert np.array_equal(one.coverage.to_dense(), two.coverage.to_dense())


def test_more_tiles_than_regions(targets: list[Targets]) -> None:
    few = targets[0].take(np.arange(3))
    batch = batcher_of([few], targets).draw(7, np.random.default_rng(0))
    assert len(batch.views) == 7


def test_fresh_views_where_a_jitter_is_given(targets: list[Targets]) -> None:
    plain = [[views_of(t.sample)[0]] for t in targets]
    batcher = Batcher(targets, plain, PITCH, FINEST, 64.0, 0.1)
    batch = batcher.draw(8, np.random.default_rng(0))
    assert len({view.stain for view in batch.views}) == 8
    assert len({view.symmetry for view in batch.views}) > 2
    assert np.allclose(batch.area.numpy(), DISK, rtol=1e-5)
