from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.made import fold_of, held_out

from pixnet.evaluation.scores import NOISE, score_fold
from pixnet.evaluation.summary import OVER_DONORS, comparison_rows, main_method, summarise
from pixnet.scoring.table import Scores


def noisy(held, seed=0, spread=0.5):
    return held.observed + np.random.default_rng(seed).normal(0, spread, held.observed.shape)


def summary_of(sources):
    return summarise([score_fold(source, 0) for source in sources], 0)


def several(seeds=(0, 1), donors=(None, None, None)):
    folds = []
    for number, (name, donor) in enumerate(zip("ABC", donors, strict=True)):
        held = held_out(name, donor=donor)
        tables = {seed: noisy(held, 10 * number + seed) for seed in seeds}
        folds.append(fold_of(held, {"good": tables, "poor": noisy(held, 5, 3.0)}, name=name, variable=("G0",)))
    return folds


def test_a_perfect_prediction_scores_one():
    held = held_out()
    scores = summary_of([fold_of(held, {"it": held.observed})])
    assert scores.value("it", "pcc_m") == pytest.approx(1.0)
    assert scores.value("it", "mse") == 0.0
    assert [scores.value("it", key) for key in ("n_regions", "n_genes", "seconds", "peak_rss_mb")] == [40, 3, 1.0, 2.0]
    assert scores.value("it", "noise_share") == pytest.approx(1 / scores.value(NOISE, "pcc_m"))
    assert scores.value(NOISE, "noise_share") == 1.0
    assert scores.interval("it", "pcc_m") == pytest.approx([1.0, 1.0])
    assert scores.values("sample", method="it") == ["A", "B"]
    assert scores.value("it", "n_regions", sample="A") == 20


def test_regions_of_few_counts_are_left_out_for_every_method():
    depth = held_out().total
    limit = int(np.median(depth))
    held = held_out(min_counts=limit)
    wrong = noisy(held, spread=1.0)
    right_where_few = np.where((depth < limit)[:, None], held.observed, wrong)
    scores = summary_of([fold_of(held, {"a": wrong, "b": right_where_few})])
    assert scores.value("a", "n_regions") == int((depth >= limit).sum())
    assert scores.value("a", "mse") == scores.value("b", "mse")
    assert scores.value("b", "mse", regions="all") < scores.value("a", "mse", regions="all")
    assert scores.value("a", "n_regions", regions="all") == 40


def test_scores_are_averaged_over_folds_and_seeds():
    scores = summary_of(several())
    alone = {seed: [summary_of([fold]).value("good", "pcc_m") for fold in several((seed,))] for seed in (0, 1)}
    assert scores.values("seed", method="good") == ["0", "1"]
    for seed in (0, 1):
        assert scores.value("good", "pcc_m", seed=seed) == pytest.approx(np.mean(alone[seed]))
    for number, name in enumerate("ABC"):
        of_fold = [alone[seed][number] for seed in (0, 1)]
        assert scores.value("good", "pcc_m", fold=name) == pytest.approx(np.mean(of_fold))
        assert [scores.value("good", "pcc_m", fold=name, seed=seed) for seed in (0, 1)] == pytest.approx(of_fold)
    assert scores.value("good", "pcc_m") == pytest.approx(np.mean(list(alone.values())))
    by_seed = [np.mean(alone[seed]) for seed in (0, 1)]
    assert scores.value("good", "sd of pcc_m") == pytest.approx(np.std(by_seed, ddof=1))
    assert np.isnan(scores.value("poor", "sd of pcc_m"))


def test_regions_are_added_up_over_folds_and_genes_are_not():
    scores = summary_of(several())
    for regions in ("enough", "all"):
        assert scores.value("good", "n_regions", regions=regions) == 60
        assert scores.value("good", "n_genes", regions=regions) == 3
    assert [scores.value("good", "n_regions", fold=name) for name in "ABC"] == [20, 20, 20]


def test_averages_of_all_folds_of_each_fold_and_of_each_seed_have_intervals():
    scores = summary_of(several())
    places = [{}, *({"fold": name} for name in "ABC"), {"seed": 0}, {"seed": 1}]
    for where in places:
        low, high = scores.interval("good", "pcc_m", **where)
        assert low < scores.value("good", "pcc_m", **where) < high
    for metric in ("pcc_f", "pcc_s"):
        low, high = scores.interval("good", metric)
        assert low < scores.value("good", metric) < high
    assert np.isnan(scores.interval("good", "mse")).all()
    # A method with one seed has no row for that seed alone.
    assert np.isnan(scores.value("poor", "pcc_m", seed=0))


def test_intervals_over_donors_need_three_donors():
    scores = summary_of(several(donors=("p", "q", "r")))
    low, high = scores.interval("good", "pcc_m", target=OVER_DONORS)
    assert low < scores.value("good", "pcc_m", target=OVER_DONORS) < high
    assert scores.value("good", "pcc_m", target=OVER_DONORS) == scores.value("good", "pcc_m")
    assert set(scores.values("metric", target=OVER_DONORS)) == {"pcc_f", "pcc_s", "pcc_m"}
    assert summary_of(several()).values("metric", target=OVER_DONORS) == []


def test_the_main_method_is_compared_with_each_other_one():
    scores = summary_of(several())
    good, poor = (scores.value(name, "pcc_m") for name in ("good", "poor"))
    assert scores.value("good", "ratio vs poor") == pytest.approx(good / poor)
    assert scores.value("good", "difference vs poor") == pytest.approx(good - poor)
    low, high = scores.interval("good", "difference vs poor")
    assert 0 < low < good - poor < high
    assert scores.value("good", "p vs poor") < 0.05
    assert [scores.value("good", f"{key} vs poor") for key in ("folds_better", "folds")] == [3, 3]
    # Tests over folds need six of them.
    assert np.isnan([scores.value("good", f"{key} vs poor") for key in ("p_sign", "p_wilcoxon")]).all()
    assert np.isnan(scores.value("poor", "difference vs good"))


def test_the_main_method_is_pixnet_or_the_first_that_looks_at_the_image():
    groups = (["ridge", "pixnet"], ["mean", "ridge", "other"], ["mean"])
    assert [main_method(names) for names in groups] == ["pixnet", "ridge", "mean"]


def test_a_comparison_over_six_folds_has_tests_over_folds():
    draws = np.random.default_rng(0).normal(0.2, 0.02, 1000)
    frame = comparison_rows("other", (0.6, 0.4), draws, np.full(6, 0.2), method="net", regions="disks")
    scores, where = Scores(frame), {"regions": "disks"}
    assert scores.value("net", "difference vs other", **where) == pytest.approx(0.2)
    assert scores.interval("net", "difference vs other", **where) == pytest.approx([0.16, 0.24], abs=0.01)
    assert scores.value("net", "ratio vs other", **where) == pytest.approx(1.5)
    assert scores.value("net", "p_sign vs other", **where) == pytest.approx(2 / 2**6)
    assert scores.value("net", "p_wilcoxon vs other", **where) == pytest.approx(2 / 2**6)
    below = Scores(comparison_rows("other", (0.6, -0.1), draws, np.full(6, 0.7), method="net"))
    assert np.isnan(below.value("net", "ratio vs other"))


def test_a_score_that_is_missing_in_a_fold_is_missing_on_average():
    folds = several()
    flat = held_out("D")
    flat.observed[:] = 1.0
    folds.append(fold_of(flat, {"good": {0: noisy(flat), 1: noisy(flat)}, "poor": noisy(flat)}, name="D"))
    scores = summary_of(folds)
    assert np.isnan(scores.value("good", "pcc_m"))
    assert np.isfinite(scores.value("good", "pcc_m", fold="A"))
    assert scores.value("good", "n_constant_observed") == 3


def test_scores_beyond_the_main_axes_have_intervals():
    scores = summary_of(several())
    for method in ("good", "poor"):
        for axes in (1, 2, 3):
            low, high = scores.interval(method, f"pcc_m_beyond_{axes}")
            assert low <= scores.value(method, f"pcc_m_beyond_{axes}") <= high
    assert scores.value("good", "pcc_m_beyond_3") == 0.0  # three genes have three axes
    assert np.isfinite(scores.interval("good", "pcc_m_beyond_1")).all()
    assert scores.value(NOISE, "participation_ratio") > 1.0
