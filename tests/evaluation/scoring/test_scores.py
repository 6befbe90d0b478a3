from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tests.evaluation.made import fold_of, held_out, make_sample, with_counts

from pixnet.errors import DataError
from pixnet.evaluation.scoring.metrics import correlation_given_depth
from pixnet.evaluation.scoring.scores import FoldScores


def noisy(held, seed=0):
    return held.observed + np.random.default_rng(seed).normal(0, 0.5, held.observed.shape)


def test_a_method_is_scored_with_each_seed():
    held = held_out()
    one, two = noisy(held, 1), noisy(held, 2)
    scores = FoldScores.of(fold_of(held, {"m": {0: one, 7: two}}, variable=("G5", "G2")), 0)
    for seed, values in ((0, one), (7, two)):
        found = scores.methods["m"][seed]
        r = [stats.pearsonr(held.observed[:, gene], values[:, gene]).statistic for gene in range(3)]
        assert found.summary["pcc_m"] == pytest.approx(np.mean(r), rel=1e-5)
        assert found.summary["pcc_m_variable"] == pytest.approx(np.mean(r[1:]), rel=1e-5)
        given = correlation_given_depth(held.observed, values, held.total)
        assert found.summary["pcc_m_given_depth"] == pytest.approx(np.mean(given), rel=1e-5)
        rho = [stats.spearmanr(held.observed[:, gene], values[:, gene]).statistic for gene in range(3)]
        assert found.summary["spearman_m"] == pytest.approx(np.mean(rho), rel=1e-5)
        np.testing.assert_allclose(found.mse.mean(), found.summary["mse"])
        assert abs(found.summary["moran_residual"]) < 0.3
        assert found.per_sample.keys() == {"A", "B"}
    assert scores.mean("m", "mse") == pytest.approx(np.mean([s.summary["mse"] for s in scores.methods["m"].values()]))
    columns = scores.per_gene()
    assert list(columns) == ["mean_counts", "noise_estimate", "pcc_m", "spearman_m", "mse_m", "moran_m"]
    every = [one.score["per_gene"] for one in scores.methods["m"].values()]
    np.testing.assert_allclose(columns["pcc_m"], np.mean(every, axis=0))


def test_a_constant_gene_is_marked_and_is_in_no_average():
    def constant(values):
        values[:, 5] = 0

    held = held_out()
    held = type(held)([with_counts(sample, constant) for sample in held.samples], held.panel, 50)
    scores = FoldScores.of(fold_of(held, {"m": noisy(held)}, variable=("G5",)), 0)
    found = scores.methods["m"][0]
    assert np.isnan(found.score["per_gene"]).tolist() == [False, True, False]
    assert np.isnan(found.spearman).tolist() == [False, True, False]
    assert found.score["n_constant_observed"] == 1
    assert found.summary["pcc_m"] == pytest.approx(np.nanmean(found.score["per_gene"]))
    assert np.isnan(found.summary["pcc_m_variable"])
    assert np.isnan(scores.per_gene()["pcc_m"][1])
    assert scores.attainable["pcc_m"] == pytest.approx(scores.noise.per_gene[[0, 2]].mean())


def test_regions_that_a_method_lacks_are_left_out_for_all():
    held = held_out()
    partial = noisy(held)
    partial[:3] = np.nan
    scores = FoldScores.of(fold_of(held, {"a": partial, "b": noisy(held)}), 0)
    assert scores.without == 3
    assert scores.kept.sum() == 37
    assert {one[0].score["n_regions"] for one in scores.methods.values()} == {37}


def test_a_sample_with_one_region_has_no_score_of_its_own():
    held = held_out()
    held = type(held)([held.samples[0], make_sample("B").take([4])], held.panel, 50)
    assert FoldScores.of(fold_of(held, {"m": noisy(held)}), 0).methods["m"][0].per_sample.keys() == {"A"}


def test_one_region_alone_cannot_be_scored():
    held = held_out("A", regions=1)
    with pytest.raises(DataError, match="two regions"):
        FoldScores.of(fold_of(held, {"m": held.observed}), 0)


def test_the_noise_estimate_leaves_out_the_same_regions():
    low = held_out(min_counts=int(np.median(held_out().total)))
    scores = FoldScores.of(fold_of(low, {"m": noisy(low)}), 0)
    again = FoldScores.of(fold_of(low, {"m": np.where(scores.kept[:, None], noisy(low), 0)}), 0)
    assert scores.kept.sum() < 40
    assert again.attainable == scores.attainable
