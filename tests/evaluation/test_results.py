from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from tests.evaluation.made import fold_of, held_out

from pixnet.evaluation.results import main_method, summarise


def noisy(held, seed=0, spread=0.5):
    return held.observed + np.random.default_rng(seed).normal(0, spread, held.observed.shape)


def test_a_perfect_prediction_scores_one():
    held = held_out()
    results = summarise([fold_of(held, {"it": held.observed})], {"k": "v"}, 0).results
    scores = results["methods"]["it"]
    assert scores["pcc_m"] == pytest.approx(1.0)
    assert scores["mse"] == 0.0
    assert (scores["n_regions"], scores["n_genes"], scores["seconds"], scores["peak_rss_mb"]) == (40, 3, 1.0, 2.0)
    assert scores["noise_share"] == pytest.approx(1 / results["noise_estimate"]["pcc_m"])
    assert scores["interval_blocks"] == pytest.approx([1.0, 1.0])
    assert scores["interval_donors"] is None
    assert scores["per_sample"].keys() == {"A", "B"}
    assert scores["per_sample"]["A"]["n_regions"] == 20
    assert results["protocol"]["k"] == "v"
    assert results["excluded_regions"] == 0
    assert results["paired"] is None


def test_regions_of_few_counts_are_left_out_for_every_method_alike():
    depth = held_out().total
    limit = int(np.median(depth))
    held = held_out(min_counts=limit)
    wrong = noisy(held, spread=1.0)
    right_where_few = np.where((depth < limit)[:, None], held.observed, wrong)
    results = summarise([fold_of(held, {"a": wrong, "b": right_where_few})], {}, 0).results
    assert results["excluded_regions"] == int((depth < limit).sum())
    a, b = results["methods"]["a"], results["methods"]["b"]
    assert a["mse"] == b["mse"]
    assert b["unfiltered"]["mse"] < a["unfiltered"]["mse"]
    assert a["unfiltered"]["n_regions"] == 40


def test_regions_without_a_prediction_are_left_out_for_every_method_alike():
    held = held_out()
    partial = held.observed.copy()
    partial[3] = np.nan
    results = summarise([fold_of(held, {"a": partial, "b": held.observed})], {}, 0).results
    assert results["excluded_regions"] == results["protocol"]["regions_without_prediction"] == 1
    assert {scores["n_regions"] for scores in results["methods"].values()} == {39}


def several(seeds=(0, 1)):
    folds = []
    for number, name in enumerate("ABC"):
        held = held_out(name)
        tables = {seed: noisy(held, 10 * number + seed) for seed in seeds}
        folds.append(fold_of(held, {"good": tables, "poor": noisy(held, 5, 3.0)}, name=name, variable=("G0",)))
    return folds


def test_scores_are_averaged_over_folds_and_seeds():
    results = summarise(several(), {}, 0).results
    good, poor = results["methods"]["good"], results["methods"]["poor"]
    alone = {
        seed: [summarise([fold], {}, 0).results["methods"]["good"]["pcc_m"] for fold in several((seed,))]
        for seed in (0, 1)
    }
    assert good["seeds"] == [0, 1]
    for seed in (0, 1):
        assert good["per_seed"][str(seed)]["pcc_m"] == pytest.approx(np.mean(alone[seed]))
    assert good["pcc_m"] == pytest.approx(np.mean(list(alone.values())))
    by_seed = [np.mean(alone[seed]) for seed in (0, 1)]
    assert good["sd_over_seeds"]["pcc_m"] == pytest.approx(np.std(by_seed, ddof=1))
    assert np.isnan(poor["sd_over_seeds"]["pcc_m"])
    assert (good["n_regions"], good["n_genes"]) == (60, 3)
    assert good["unfiltered"]["n_regions"] == 60
    low, high = good["interval_blocks"]
    assert low < good["pcc_m"] < high
    assert [fold["name"] for fold in results["folds"]] == ["A", "B", "C"]
    parts = [fold["methods"]["good"] for fold in results["folds"]] + list(good["per_seed"].values())
    assert len(parts) == 5
    for one in parts:
        low, high = one["interval_blocks"]
        assert low < one["pcc_m"] < high
    assert "interval_blocks" not in poor["per_seed"]["0"]
    assert np.mean([fold["methods"]["good"]["pcc_m"] for fold in results["folds"]]) == pytest.approx(good["pcc_m"])


def test_the_first_method_is_compared_with_each_other_one():
    results = summarise(several(), {}, 0).results
    paired = results["paired"]
    good, poor = (results["methods"][name]["pcc_m"] for name in ("good", "poor"))
    assert paired["method"] == "good"
    test = paired["against"]["poor"]
    assert test["ratio"] == pytest.approx(good / poor)
    assert test["difference"] == pytest.approx(good - poor)
    assert test["p_bootstrap"] < 0.05
    assert (test["folds_better"], test["folds"]) == (3, 3)
    names = (["ridge", "pixnet"], ["mean", "ridge", "other"], ["mean"])
    assert [main_method(each) for each in names] == ["pixnet", "ridge", "mean"]


def test_a_score_that_is_missing_in_a_fold_is_missing_on_average():
    folds = several()
    flat = held_out("D")
    flat.observed[:] = 1.0
    folds.append(fold_of(flat, {"good": {0: noisy(flat), 1: noisy(flat)}, "poor": noisy(flat)}, name="D"))
    results = summarise(folds, {}, 0).results
    assert np.isnan(results["methods"]["good"]["pcc_m"])
    assert results["methods"]["good"]["n_constant_observed"] == 3


def test_what_is_written_can_be_read(tmp_path):
    held = held_out()
    outcome = summarise([fold_of(held, {"flat": np.zeros_like(held.observed)})], {"x": float("nan")}, 0)
    outcome.write(tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["methods"]["flat"]["pcc_m"] == 0.0
    table = anndata.read_h5ad(tmp_path / "predictions.h5ad")
    np.testing.assert_array_equal(table.X, held.observed)
    assert list(table.obs["sample"].unique()) == ["A", "B"]
    np.testing.assert_allclose(table.obs["size_um"], 40.0)
    np.testing.assert_array_equal(table.obs[["x_um", "y_um"]][:20], held.samples[0].regions.centers_um)
    genes = pd.read_csv(tmp_path / "per_gene.csv", index_col=0)
    assert list(genes.index) == ["G0", "G5", "G2"]
    assert list(genes.columns) == ["mean_counts", "noise_estimate", "pcc_flat", "spearman_flat", "mse_flat",
                                   "moran_flat"]  # fmt: skip
    assert not (tmp_path / "scores.csv").exists()
