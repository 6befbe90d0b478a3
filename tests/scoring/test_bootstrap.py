from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pixnet.regions.blocks import block_of
from pixnet.scoring.bootstrap import (
    SUMMARIES,
    Scored,
    _FoldSums,
    interval,
    intervals,
    number_of_blocks,
    paired_test,
    redrawn_scores,
)
from pixnet.scoring.metrics import score


def made(seed=0, regions=60, genes=5, donors=("p",), quality=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(regions, genes)) + shift
    predicted = quality * truth + rng.normal(size=(regions, genes))
    owner = np.arange(regions) * len(donors) // regions
    return Scored(truth, {"a": [predicted]}, rng.uniform(0, 100, (regions, 2)), owner, list(donors))


def test_scores_are_those_of_redrawn_blocks():
    """Against the plain way: put the drawn blocks' rows together and score them."""
    fold = made(regions=40, shift=1e4)
    redrawn = redrawn_scores([fold], resamples=600, seed=1)["a"]
    block = block_of(fold.centers_um, number_of_blocks(40))
    members = [np.flatnonzero(block == number) for number in np.unique(block)]
    rng, plain = np.random.default_rng(2), []
    for _ in range(600):
        rows = np.concatenate([members[number] for number in rng.integers(0, len(members), len(members))])
        plain.append(score(fold.truth[rows], fold.predicted["a"][0][rows]))
    for key, values in redrawn.items():
        found = np.quantile(values, [0.1, 0.5, 0.9])
        expected = np.quantile([result[key] for result in plain], [0.1, 0.5, 0.9])
        np.testing.assert_allclose(found, expected, atol=0.02)
        np.testing.assert_array_equal(values, redrawn_scores([fold], resamples=600, seed=1)["a"][key])


def test_neighbours_that_are_similar_are_less_evidence():
    """Ten copies of each region, all at its place, are no more evidence than one."""
    few = made(regions=30)
    many = Scored(
        np.repeat(few.truth, 10, axis=0), {"a": [np.repeat(few.predicted["a"][0], 10, axis=0)]},
        np.repeat(few.centers_um, 10, axis=0), np.zeros(300, int), ["p"],
    )  # fmt: skip
    single, copies = (np.ptp(interval(redrawn_scores([fold], seed=3)["a"]["pcc_m"], 0.7)) for fold in (few, many))
    assert copies == pytest.approx(single, rel=0.35)


def test_folds_and_seeds_are_averaged():
    good, bad = made(1, quality=3.0), made(2, quality=0.0)
    both = redrawn_scores([good, bad], resamples=300)["a"]["pcc_m"]
    parts = [score(fold.truth, fold.predicted["a"][0])["pcc_m"] for fold in (good, bad)]
    assert np.median(both) == pytest.approx(np.mean(parts), abs=0.05)
    seeds = dataclasses.replace(good, predicted={"a": [good.predicted["a"][0], np.zeros_like(good.truth)]})
    np.testing.assert_allclose(redrawn_scores([seeds], resamples=50)["a"]["pcc_m"],
                               redrawn_scores([good], resamples=50)["a"]["pcc_m"] / 2)  # fmt: skip


def test_all_methods_are_scored_on_the_same_draws():
    fold = made()
    same = dataclasses.replace(fold, predicted={"a": fold.predicted["a"], "b": fold.predicted["a"]})
    redrawn = redrawn_scores([same], resamples=100)
    np.testing.assert_array_equal(redrawn["a"]["pcc_m"], redrawn["b"]["pcc_m"])


def test_donors_are_redrawn_where_there_are_three():
    folds = [made(seed, donors=(donor,), quality=quality) for seed, (donor, quality) in
             enumerate([("p", 3.0), ("q", 1.0), ("r", 0.0)])]  # fmt: skip
    blocks, donors = intervals(folds)
    assert donors is not None
    assert np.ptp(interval(donors["a"]["pcc_m"], 0.5)) > 2 * np.ptp(interval(blocks["a"]["pcc_m"], 0.5))
    assert np.isfinite(donors["a"]["pcc_m"]).all()
    assert intervals(folds[:2])[1] is None
    unknown = dataclasses.replace(folds[2], donors=[None])
    assert intervals([*folds[:2], unknown])[1] is None


def test_donors_of_one_fold_are_redrawn_too():
    donors = intervals([made(donors=("p", "q", "r"), regions=90)])[1]
    assert donors is not None
    assert np.isfinite(donors["a"]["pcc_m"]).all()


def test_constant_genes_are_left_out_and_constant_predictions_are_zero():
    fold = made(genes=3)
    truth, guess = fold.truth.copy(), fold.predicted["a"][0].copy()
    truth[:, 0], guess[:, 1] = 0.1, 0.1
    redrawn = redrawn_scores([dataclasses.replace(fold, truth=truth, predicted={"a": [guess]})], resamples=50)["a"][
        "pcc_m"
    ]
    alone = dataclasses.replace(fold, truth=truth[:, 2:], predicted={"a": [guess[:, 2:]]})
    np.testing.assert_allclose(redrawn, redrawn_scores([alone], resamples=50)["a"]["pcc_m"] / 2, rtol=1e-6)


def test_a_draw_of_every_block_once_is_the_score():
    """So the draws can be moved to it: both are the same function of the data."""
    fold = made(regions=90, genes=7, donors=("p", "q"))
    truth, first = fold.truth.copy(), fold.predicted["a"][0].copy()
    truth[:, 0], first[:, 1] = 3.0, 3.0  # a gene that does not vary, a prediction that does not
    guesses = [first, first + np.random.default_rng(9).normal(size=first.shape)]
    sums = _FoldSums(dataclasses.replace(fold, truth=truth, predicted={"a": guesses}))
    found = sums.scores(np.ones((1, len(sums.sample))))["a"][:, 0]
    expected = [np.mean([score(truth, guess)[key] for guess in guesses]) for key in SUMMARIES]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_too_many_draws_without_a_score_leave_no_interval():
    draws = np.linspace(0.2, 0.4, 100)
    draws[:5] = np.nan
    assert interval(draws, 0.3) == pytest.approx((0.2, 0.4), abs=0.02)
    draws[5] = np.nan
    assert np.isnan(interval(draws, 0.3)).all()


def test_the_interval_lies_around_the_score():
    """Redrawing itself moves a score, such as a quartile of weak correlations; the interval does not follow."""
    fold = made(regions=200, genes=250, quality=0.1)
    redrawn = redrawn_scores([fold])["a"]
    found = score(fold.truth, fold.predicted["a"][0])
    assert np.quantile(redrawn["pcc_f"], 0.975) < found["pcc_f"]
    for key in ("pcc_f", "pcc_s", "pcc_m"):
        low, high = interval(redrawn[key], found[key])
        assert low < found[key] < high
        assert high - low == pytest.approx(np.ptp(np.quantile(redrawn[key], [0.025, 0.975])))
        assert interval(redrawn[key] + 1.0, found[key]) == pytest.approx((low, high))


def test_a_score_that_is_not_finite_has_no_interval():
    assert np.isnan(interval(np.linspace(0.0, 1.0, 100), np.nan)).all()


def test_values_that_do_not_vary_have_no_interval():
    fold = made()
    flat = dataclasses.replace(fold, truth=np.ones_like(fold.truth))
    assert np.isnan(interval(redrawn_scores([flat, fold], resamples=20)["a"]["pcc_m"], 0.5)).all()


def test_one_region_has_no_interval():
    fold = made(regions=1)
    assert np.isnan(interval(redrawn_scores([fold], resamples=20)["a"]["pcc_m"], 0.5)).all()


def test_the_paired_test_finds_a_difference_where_there_is_one():
    rng = np.random.default_rng(0)
    better = paired_test(0.3, rng.normal(0.3, 0.05, 1000), np.full(8, 0.3) + rng.normal(0, 0.01, 8))
    assert better["p_bootstrap"] < 0.01
    assert better["p_sign"] == pytest.approx(2 / 2**8)
    assert better["p_wilcoxon"] == pytest.approx(2 / 2**8)
    assert (better["folds_better"], better["folds"]) == (8, 8)
    assert better["interval"][0] > 0.1
    # Where the draws lie does not matter, even past zero: they are moved to the difference.
    moved = paired_test(0.3, rng.normal(-0.1, 0.05, 1000), np.full(8, 0.3))
    assert moved["p_bootstrap"] < 0.01
    assert moved["interval"] == pytest.approx([0.2, 0.4], abs=0.03)
    none = paired_test(0.0, rng.normal(0.0, 0.05, 1000), rng.normal(0, 0.1, 3))
    assert none["p_bootstrap"] > 0.5
    assert none["p_sign"] is none["p_wilcoxon"] is None
    assert np.isnan(paired_test(0.0, np.full(10, np.nan), np.full(1, np.nan))["p_bootstrap"])


def test_blocks_are_from_8_to_64_and_never_more_than_regions():
    assert [number_of_blocks(n) for n in (1, 5, 9, 40, 400, 1_000_000)] == [1, 5, 8, 8, 20, 64]
