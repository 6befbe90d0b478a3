from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from pixnet.expression import correlation, normalise
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.training import components as module
from pixnet.training.components import _principal, denoised, learn_components
from pixnet.training.targets import Components, Targets

PROGRAMS, GENES, REGIONS = 3, 60, 400


def made(sample: Sample, rates: NDArray[np.float64], seed: int) -> Targets:
    """Return targets of counts drawn at these rates (n, genes + 1), the last for all genes outside the panel."""
    counts = np.random.default_rng(seed).poisson(rates).astype(np.float32)
    panel = sparse.csr_matrix(counts[:, :-1])
    regions = Disks(np.random.default_rng(seed).uniform(20, 200, (len(counts), 2)), 20.0)
    return Targets(sample, regions, panel, counts.sum(axis=1), np.ones(counts.shape[1], np.bool_))


def rates_of_programs(seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(99).gamma(0.3, 1.0, (PROGRAMS, GENES))
    rates = rng.gamma(1.0, 1.0, (REGIONS, PROGRAMS)) @ loadings + 0.3
    return np.hstack([rates, np.full((REGIONS, 1), 400.0)])


@pytest.fixture(scope="module")
def both(samples: list[Sample]) -> list[Targets]:
    return [made(sample, rates_of_programs(seed), seed) for seed, sample in enumerate(samples[:2])]


@pytest.fixture(scope="module")
def components(both: list[Targets]) -> Components:
    found = learn_components(both, 0)
    assert found is not None
    return found


def test_as_many_components_as_there_are_programs(components: Components) -> None:
    assert len(components.basis) == PROGRAMS
    assert np.allclose(components.basis @ components.basis.T, np.eye(PROGRAMS))


def test_with_more_genes_than_regions_the_directions_are_the_same() -> None:
    values = np.random.default_rng(0).normal(size=(30, 50)) * np.linspace(1, 5, 50)
    values -= values.mean(axis=0)
    wide, tall = _principal(values), _principal(np.concatenate([values, np.zeros((40, 50))]))[:30]
    assert wide.shape == tall.shape == (30, 50)
    assert np.allclose(wide[:29] @ wide[:29].T, np.eye(29), atol=1e-8)
    assert np.allclose(np.abs((wide[:29] * tall[:29]).sum(axis=1)), 1.0, atol=1e-6)
    assert not wide[29].any()  # centred, so they have one dimension less


@pytest.mark.parametrize("seed", range(40))
def test_few_regions_with_hardly_a_count_are_no_error(samples: list[Sample], seed: int) -> None:
    """The halves may then differ in how many directions they have."""
    target = made(samples[0], np.full((25, 11), 0.1) * np.r_[np.ones(10), 1e3], seed)
    found = learn_components([target], 0)
    assert found is None or np.isfinite(target.denoised(found).dense()[1]).all()


def test_of_many_genes_fewer_regions_are_used(
    both: list[Targets], components: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_VALUES", GENES * 300)
    found = learn_components(both, 0)
    assert found is not None
    assert 1 <= len(found.basis) <= PROGRAMS
    assert not np.array_equal(found.sd, components.sd)
    monkeypatch.setattr(module, "_MOST_VALUES", GENES * 2)
    assert learn_components(both, 0) is None  # two regions tell nothing


def test_denoised_values_are_nearer_to_the_truth(both: list[Targets], components: Components) -> None:
    for seed, target in enumerate(both):
        rates = rates_of_programs(seed)
        truth = normalise(rates[:, :-1], rates.sum(axis=1))
        before, after = target.dense()[1], target.denoised(components).dense()[1]
        assert correlation(truth, after).mean() > correlation(truth, before).mean() + 0.1
        # The mean of the sample, and its counts, stay as measured.
        assert np.allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-5)
        assert np.array_equal(target.denoised(components).dense()[0], target.dense()[0])


def test_a_few_regions_are_denoised_as_among_all(both: list[Targets], components: Components) -> None:
    denoised, index = both[0].denoised(components), np.array([7, 3])
    assert np.allclose(denoised.dense(index)[1], denoised.dense()[1][index], atol=1e-6)
    assert np.allclose(denoised.take(index).dense()[1], denoised.dense()[1][index], atol=1e-6)


def test_nothing_stands_above_pure_noise(samples: list[Sample]) -> None:
    rates = np.tile(rates_of_programs(0)[:1], (REGIONS, 1))
    assert learn_components([made(samples[0], rates, 1)], 0) is None


def test_nothing_is_learned_from_fractional_counts_or_too_few_genes(both: list[Targets]) -> None:
    fractional = dataclasses.replace(both[0], panel=both[0].panel * 0.5)
    assert learn_components([fractional], 0) is None
    few = [dataclasses.replace(t, panel=t.panel[:, :2], measured=np.ones(3, np.bool_)) for t in both]
    assert learn_components(few, 0) is None


def test_genes_that_a_sample_was_not_measured_for_are_left_alone(both: list[Targets]) -> None:
    measured = both[1].measured.copy()
    measured[:5] = False
    part = [both[0], dataclasses.replace(both[1], measured=measured)]
    found = learn_components(part, 0)
    assert found is not None
    assert found.genes.min() == 5
    before, after = part[0].dense()[1], part[0].denoised(found).dense()[1]
    assert np.array_equal(after[:, :5], before[:, :5])
    assert not np.allclose(after[:, 5:], before[:, 5:], atol=1e-3)


def test_spots_keep_their_components_beside_many_bins(samples: list[Sample], both: list[Targets]) -> None:
    rates = np.tile(rates_of_programs(5) / 60.0, (8, 1))
    bins = made(samples[2], rates, 5)
    bins = dataclasses.replace(bins, regions=Disks(bins.regions.centers_um, 4.0))
    mixed = denoised([bins, *both], 0)
    alone = denoised(both, 0)
    assert [target.sample.id for target in mixed] == [target.sample.id for target in (bins, *both)]
    for one, other, raw in zip(mixed[1:], alone, both, strict=True):
        assert np.array_equal(one.dense()[1], other.dense()[1])
        assert not np.allclose(one.dense()[1], raw.dense()[1], atol=1e-3)


def test_a_sample_without_components_stays_as_it_is(samples: list[Sample]) -> None:
    noise = made(samples[0], np.tile(rates_of_programs(0)[:1], (REGIONS, 1)), 1)
    assert denoised([noise], 0) == [noise]
