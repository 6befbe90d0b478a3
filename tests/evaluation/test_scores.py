from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tests.evaluation.made import fold_of, held_out, make_sample, with_counts

from pixnet.errors import DataError
from pixnet.evaluation.scores import NOISE, PER_GENE, score_fold
from pixnet.scoring.axes import (
    correlation_without_axes,
    pair_agreement,
    participation_above_noise,
    participation_ratio,
)
from pixnet.scoring.metrics import correlation_given_depth
from pixnet.scoring.table import Scores


def noisy(held, seed=0):
    return held.observed + np.random.default_rng(seed).normal(0, 0.5, held.observed.shape)


def scores_of(source):
    return Scores(score_fold(source, 0).table)


def test_a_method_is_scored_with_each_seed():
    held = held_out()
    tables = {0: noisy(held, 1), 7: noisy(held, 2)}
    scores = scores_of(fold_of(held, {"m": tables}, variable=("G5", "G2")))
    assert scores.values("seed", method="m") == ["0", "7"]
    for seed, values in tables.items():
        where = {"fold": "fold", "seed": seed}
        r = [stats.pearsonr(held.observed[:, gene], values[:, gene]).statistic for gene in range(3)]
        assert scores.value("m", "pcc_m", **where) == pytest.approx(np.mean(r), rel=1e-5)
        assert scores.value("m", "pcc_m_variable", **where) == pytest.approx(np.mean(r[1:]), rel=1e-5)
        given = correlation_given_depth(held.observed, values, held.total)
        assert scores.value("m", "pcc_m_given_depth", **where) == pytest.approx(np.mean(given), rel=1e-5)
        rho = [stats.spearmanr(held.observed[:, gene], values[:, gene]).statistic for gene in range(3)]
        assert scores.value("m", "spearman_m", **where) == pytest.approx(np.mean(rho), rel=1e-5)
        left = correlation_without_axes(held.observed, values.astype(np.float32), 2)
        assert scores.value("m", "pcc_m_beyond_2", **where) == pytest.approx(np.mean(left), abs=1e-5)
        assert scores.value("m", "participation_ratio", **where) == pytest.approx(participation_ratio(values), rel=1e-5)
        agreement = pair_agreement(held.observed, values)
        assert scores.value("m", "pair_agreement", **where) == pytest.approx(agreement, rel=1e-4)
        mse = scores.genes("mse", "m", seed=seed)
        np.testing.assert_allclose(mse.mean(), scores.value("m", "mse", **where))
        assert abs(scores.value("m", "moran_residual", **where)) < 0.3
        assert scores.values("sample", method="m", seed=seed) == ["A", "B"]
        assert scores.value("m", "n_regions", **where, sample="A") == 20
        assert (scores.value("m", "seconds", **where), scores.value("m", "peak_rss_mb", **where)) == (1.0, 2.0)


def test_each_gene_has_its_scores_and_the_noise_estimate():
    held = held_out()
    tables = {0: noisy(held, 1), 7: noisy(held, 2)}
    fold = score_fold(fold_of(held, {"m": tables}), 0)
    scores = Scores(fold.table)
    of_seeds = [scores.genes("pcc", "m", seed=seed) for seed in tables]
    assert list(of_seeds[0].index) == ["G0", "G5", "G2"]
    np.testing.assert_allclose(scores.genes("pcc", "m"), np.mean(of_seeds, axis=0))
    assert all(len(scores.genes(metric, "m")) == 3 for metric in PER_GENE)
    np.testing.assert_array_equal(scores.genes("pcc", NOISE), fold.noise.per_gene)
    np.testing.assert_allclose(scores.genes("mean_counts", NOISE), held.counts.mean(axis=0))
    axes = participation_above_noise(held.counts, held.total, seed=0)
    assert scores.value(NOISE, "participation_ratio", fold="fold") == axes


def test_a_constant_gene_is_marked_and_is_in_no_average():
    def constant(values):
        values[:, 5] = 0

    held = held_out()
    held = type(held)([with_counts(sample, constant) for sample in held.samples], held.panel, 50)
    fold = score_fold(fold_of(held, {"m": noisy(held)}, variable=("G5",)), 0)
    scores, where = Scores(fold.table), {"fold": "fold", "seed": 0}
    for metric in ("pcc", "spearman"):
        assert np.isnan(scores.genes(metric, "m")).tolist() == [False, True, False]
    assert scores.value("m", "n_constant_observed", **where) == 1
    assert scores.value("m", "pcc_m", **where) == pytest.approx(np.nanmean(scores.genes("pcc", "m")))
    assert np.isnan(scores.value("m", "pcc_m_variable", **where))
    assert scores.value(NOISE, "pcc_m", fold="fold") == pytest.approx(fold.noise.per_gene[[0, 2]].mean())


def test_regions_that_a_method_lacks_are_left_out_for_all():
    held = held_out()
    partial = noisy(held)
    partial[:3] = np.nan
    fold = score_fold(fold_of(held, {"a": partial, "b": noisy(held)}), 0)
    assert fold.covered.sum() == fold.kept.sum() == 37
    scores = Scores(fold.table)
    assert {scores.value(name, "n_regions", fold="fold", seed=0) for name in ("a", "b")} == {37}


def test_a_sample_with_one_region_has_no_score_of_its_own():
    held = held_out()
    held = type(held)([held.samples[0], make_sample("B").take([4])], held.panel, 50)
    assert scores_of(fold_of(held, {"m": noisy(held)})).values("sample", method="m") == ["A"]


def test_one_region_alone_cannot_be_scored():
    held = held_out("A", regions=1)
    with pytest.raises(DataError, match="two regions"):
        score_fold(fold_of(held, {"m": held.observed}), 0)


def test_regions_of_few_counts_count_only_where_all_regions_are_scored():
    held = held_out(min_counts=int(np.median(held_out().total)))
    scores = scores_of(fold_of(held, {"m": noisy(held)}))
    assert scores.value("m", "n_regions", fold="fold", seed=0) == held.enough.sum() < 40
    assert scores.value("m", "n_regions", fold="fold", seed=0, regions="all") == 40


def test_the_noise_estimate_leaves_out_the_same_regions():
    low = held_out(min_counts=int(np.median(held_out().total)))
    first = score_fold(fold_of(low, {"m": noisy(low)}), 0)
    second = score_fold(fold_of(low, {"m": np.where(first.kept[:, None], noisy(low), 0)}), 0)
    assert first.kept.sum() < 40
    for metric in ("pcc_f", "pcc_s", "pcc_m"):
        estimates = [Scores(fold.table).value(NOISE, metric, fold="fold") for fold in (first, second)]
        assert estimates[0] == estimates[1]
        assert np.isfinite(estimates[0])
