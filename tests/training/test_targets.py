from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pixnet.errors import DataError
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.panel import GenePanel
from pixnet.training.targets import Targets, split


def names(parts: list[Targets]) -> list[tuple[str, float, float]]:
    return [(t.sample.id, *centre) for t in parts for centre in t.regions.centers_um.tolist()]


def test_counts_totals_and_values_of_a_sample(samples: list[Sample], panel: GenePanel) -> None:
    sample = samples[0]
    target = Targets.from_sample(sample, panel, 0, with_other=True)
    counts, values = target.dense()
    columns = sample.genes.get_indexer(list(panel.names))
    raw = sample.counts.matrix.toarray()
    assert np.array_equal(counts[:, :-1], raw[:, columns])
    assert np.allclose(counts.sum(1), raw.sum(1))
    assert np.array_equal(target.total, raw.sum(1))
    expected = np.log1p(1e4 * raw[:, columns] / raw.sum(1, keepdims=True))
    assert np.allclose(values, expected, rtol=1e-5)
    assert Targets.from_sample(sample, panel, 0, with_other=False).dense()[0].shape == values.shape == (len(raw), 12)
    assert np.allclose(target.sums(), counts.sum(0))
    total, squares = target.moments()
    assert np.allclose(total, values.sum(0), rtol=1e-5)
    assert np.allclose(squares, (values**2).sum(0), rtol=1e-5)
    for part, whole in zip(target.dense(np.array([3, 1])), (counts, values), strict=True):
        assert np.array_equal(part, whole[[3, 1]])


def test_regions_with_too_few_counts_are_left_out(samples: list[Sample], panel: GenePanel) -> None:
    least = int(np.median(samples[0].depth))
    target = Targets.from_sample(samples[0], panel, least, with_other=True)
    enough = samples[0].depth >= least
    assert 0 < enough.sum() < len(enough)
    assert np.array_equal(target.total, samples[0].depth[enough])
    assert np.array_equal(target.regions.centers_um, samples[0].regions.centers_um[enough])
    with pytest.raises(DataError, match=samples[0].id):
        Targets.from_sample(samples[0], panel, 10**9, with_other=True)


def test_taking_keeps_rows_together(targets: list[Targets]) -> None:
    index = np.array([5, 2, 9])
    some = targets[0].take(index)
    assert len(some) == 3
    assert np.array_equal(some.regions.centers_um, targets[0].regions.centers_um[index])
    assert np.array_equal(some.total, targets[0].total[index])
    for ours, theirs in zip(some.dense(), targets[0].dense(index), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("how", ["sample", "block", "auto"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_validation_and_training_share_no_region(targets: list[Targets], how: str, number: int) -> None:
    for seed in range(4):
        training, validation = split(targets[:number], how, seed)
        train, held = names(training), names(validation)
        assert train
        assert held
        assert not set(train) & set(held)
        assert sorted(train + held) == sorted(names(targets[:number]))


def test_a_sample_is_held_out_whole(targets: list[Targets]) -> None:
    for how in ("sample", "auto"):
        training, validation = split(targets, how, 0)
        assert len(validation) == 1
        assert validation[0] is targets[[t.sample.id for t in targets].index(validation[0].sample.id)]
        assert validation[0].sample.id not in {t.sample.id for t in training}
    held = {split(targets, "sample", seed)[1][0].sample.id for seed in range(12)}
    assert len(held) == 3  # the seed decides


def test_a_donor_is_held_out_with_all_samples(targets: list[Targets]) -> None:
    def of(*donors: str | None) -> list[Targets]:
        return [
            dataclasses.replace(target, sample=dataclasses.replace(target.sample, donor=donor))
            for target, donor in zip(targets, donors, strict=True)
        ]

    def held(parts: list[Targets]) -> set[tuple[str, ...]]:
        found = set()
        for seed in range(12):
            training, validation = split(parts, "sample", seed)
            assert training
            assert {t.sample.id for t in training} | {t.sample.id for t in validation} == set(ids)
            assert not {t.sample.id for t in training} & {t.sample.id for t in validation}
            found.add(tuple(t.sample.id for t in validation))
        return found

    ids = [target.sample.id for target in targets]
    assert held(of("P", "Q", "P")) == {(ids[0], ids[2]), (ids[1],)}
    assert held(of("P", None, "P")) == {(ids[0], ids[2]), (ids[1],)}
    for alone in (of("P", "P", "P"), of(None, None, None)):
        assert held(alone) == {(one,) for one in ids}


def test_a_block_is_a_quarter_on_one_side(targets: list[Targets]) -> None:
    for seed in range(6):
        training, validation = split(targets[:2], "block", seed)
        for inner, outer in zip(training, validation, strict=True):
            assert inner.sample.id == outer.sample.id
            assert len(outer) / (len(inner) + len(outer)) == pytest.approx(0.25, abs=0.06)
            # A straight line parts them: some direction has all of one on one side.
            angles = np.linspace(0, 2 * np.pi, 720)
            along = np.stack([np.cos(angles), np.sin(angles)])
            low = (outer.regions.centers_um @ along).min(axis=0)
            high = (inner.regions.centers_um @ along).max(axis=0)
            assert (low >= high - 1e-9).any()


def test_none_trains_on_everything_and_a_seed_repeats(targets: list[Targets]) -> None:
    training, validation = split(targets, "none", 0)
    assert names(training) == names(targets)
    assert validation == []
    for how in ("block", "sample"):
        assert [names(part) for part in split(targets, how, 3)] == [names(part) for part in split(targets, how, 3)]


def test_a_sample_of_a_small_panel_has_no_information_on_other_genes(samples: list[Sample], panel: GenePanel) -> None:
    whole = samples[0]
    few = [*panel.names[:5], whole.genes.difference(panel.names)[0]]
    columns = whole.genes.get_indexer(few)
    part = dataclasses.replace(whole, counts=Counts(whole.counts.matrix[:, columns], whole.genes[columns]))
    target = Targets.from_sample(part, panel, 0, with_other=True, most_genes=len(whole.genes))
    assert target.measured.tolist() == [True] * 5 + [False] * 8
    raw = part.counts.matrix.toarray()[:, :5]
    assert np.array_equal(target.total, raw.sum(axis=1))
    shares = np.divide(raw, raw.sum(1, keepdims=True), out=np.zeros_like(raw), where=raw.sum(1, keepdims=True) > 0)
    assert np.allclose(target.dense()[1][:, :5], np.log1p(1e4 * shares), rtol=1e-5)
    assert Targets.from_sample(whole, panel, 0, with_other=True, most_genes=len(whole.genes)).measured.all()
    with pytest.raises(DataError, match="was measured for none of the 1 genes, such as 'ELSE'"):
        Targets.from_sample(part, GenePanel(("ELSE",), "list"), 0, with_other=True)
