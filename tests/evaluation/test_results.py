from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from tests.evaluation.made import fold_of, held_out, outcome_of

from pixnet.evaluation.results import layer_names, predictions_table
from pixnet.evaluation.scores import METRICS
from pixnet.evaluation.summary import OVER_DONORS
from pixnet.scoring.table import Scores


def noisy(held, seed=0, spread=0.5):
    return held.observed + np.random.default_rng(seed).normal(0, spread, held.observed.shape)


def several(donors=(None, None, None)):
    folds = []
    for number, (name, donor) in enumerate(zip("ABC", donors, strict=True)):
        held = held_out(name, donor=donor)
        tables = {seed: noisy(held, 10 * number + seed) for seed in (0, 1)}
        folds.append(fold_of(held, {"good": tables, "poor": noisy(held, 5, 3.0)}, name=name, variable=("G0",)))
    return folds


# Content of results.json


def test_results_of_one_fold_and_one_method_hold_its_scores():
    held = held_out()
    outcome = outcome_of([fold_of(held, {"it": held.observed})], {"k": "v"})
    results = outcome.results
    scores = results["methods"]["it"]
    assert scores["pcc_m"] == pytest.approx(1.0)
    assert scores["mse"] == 0.0
    assert (scores["n_regions"], scores["n_genes"], scores["seconds"], scores["peak_rss_mb"]) == (40, 3, 1.0, 2.0)
    assert all(isinstance(scores[key], int) for key in ("n_regions", "n_genes", "n_constant_observed"))
    assert scores["noise_share"] == pytest.approx(1 / results["noise_estimate"]["pcc_m"])
    assert scores["interval_blocks"] == pytest.approx([1.0, 1.0])
    assert scores["interval_donors"] is None
    assert scores["per_sample"].keys() == {"A", "B"}
    assert scores["per_sample"]["A"]["n_regions"] == 20
    assert results["protocol"]["k"] == "v"
    assert results["excluded_regions"] == 0
    assert results["paired"] is None


def test_regions_of_few_counts_are_counted_as_excluded():
    depth = held_out().total
    limit = int(np.median(depth))
    held = held_out(min_counts=limit)
    results = outcome_of([fold_of(held, {"a": noisy(held)})]).results
    assert results["excluded_regions"] == results["folds"][0]["excluded_regions"] == int((depth < limit).sum())
    assert results["protocol"]["regions_without_prediction"] == 0
    assert results["methods"]["a"]["unfiltered"]["n_regions"] == 40


def test_regions_without_a_prediction_are_left_out_for_every_method():
    held = held_out()
    partial = held.observed.copy()
    partial[3] = np.nan
    results = outcome_of([fold_of(held, {"a": partial, "b": held.observed})]).results
    assert results["excluded_regions"] == results["protocol"]["regions_without_prediction"] == 1
    assert {scores["n_regions"] for scores in results["methods"].values()} == {39}


def test_results_of_folds_and_seeds_hold_the_scores_of_the_table():
    outcome = outcome_of(several())
    results, table = outcome.results, outcome.scores
    good, poor = results["methods"]["good"], results["methods"]["poor"]
    assert good["seeds"] == [0, 1]
    assert good["layers"] == ["good, seed 0", "good, seed 1"]
    assert (good["n_regions"], good["n_genes"], good["unfiltered"]["n_regions"]) == (60, 3, 60)
    for key in METRICS:
        assert good[key] == table.value("good", key)
        assert good["sd_over_seeds"][key] == table.value("good", f"sd of {key}")
        for seed in (0, 1):
            assert good["per_seed"][str(seed)][key] == table.value("good", key, seed=seed)
    assert good["interval_blocks"] == good["intervals"]["blocks"]["pcc_m"] == table.interval("good", "pcc_m")
    assert np.isnan(poor["sd_over_seeds"]["pcc_m"])
    assert poor["per_seed"]["0"]["pcc_m"] == poor["pcc_m"]
    assert "interval_blocks" not in poor["per_seed"]["0"]
    assert [fold["name"] for fold in results["folds"]] == ["A", "B", "C"]
    for fold in results["folds"]:
        of_good = fold["methods"]["good"]
        assert of_good["pcc_m"] == table.value("good", "pcc_m", fold=fold["name"])
        assert of_good["interval_blocks"] == table.interval("good", "pcc_m", fold=fold["name"])
        assert (fold["test"], fold["n_regions"], fold["n_variable"]) == ([fold["name"]], 20, 1)
    parts = [fold["methods"]["good"] for fold in results["folds"]] + list(good["per_seed"].values())
    assert len(parts) == 5
    for part in parts:
        low, high = part["interval_blocks"]
        assert low < part["pcc_m"] < high
    assert np.mean([fold["methods"]["good"]["pcc_m"] for fold in results["folds"]]) == pytest.approx(good["pcc_m"])


def test_results_of_three_donors_hold_intervals_over_donors():
    outcome = outcome_of(several(donors=("p", "q", "r")))
    good = outcome.results["methods"]["good"]
    assert good["intervals"].keys() == {"blocks", "donors"}
    assert good["interval_donors"] == good["intervals"]["donors"]["pcc_m"]
    assert good["interval_donors"] == outcome.scores.interval("good", "pcc_m", target=OVER_DONORS)
    assert outcome_of(several()).results["methods"]["good"]["intervals"].keys() == {"blocks"}


def test_results_compare_the_main_method_with_each_other_one():
    results = outcome_of(several()).results
    paired = results["paired"]
    good, poor = (results["methods"][name]["pcc_m"] for name in ("good", "poor"))
    assert paired["method"] == "good"
    test = paired["against"]["poor"]
    assert test["ratio"] == pytest.approx(good / poor)
    assert test["difference"] == pytest.approx(good - poor)
    assert test["interval"][0] < test["difference"] < test["interval"][1]
    assert test["p_bootstrap"] < 0.05
    assert (test["folds_better"], test["folds"]) == (3, 3)
    assert test["p_sign"] is test["p_wilcoxon"] is None


# Files


def scored(constant=False):
    folds = []
    for number, (name, genes) in enumerate((("A", ("G0", "G5")), ("B", ("G5", "G7")))):
        held = held_out(name, genes)
        if constant and name == "B":
            held.observed[:, 0] = 2.0
        rng = np.random.default_rng(number)
        tables = {seed: held.observed + rng.normal(size=held.observed.shape) for seed in (3, 4)}
        folds.append(fold_of(held, {"m": tables, "one": tables[3]}, name=f"fold {name}"))
    return outcome_of(folds)


def test_what_is_written_can_be_read(tmp_path):
    held = held_out()
    outcome = outcome_of([fold_of(held, {"flat": np.zeros_like(held.observed)})], {"x": float("nan")})
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
    assert list(genes.columns) == [
        "mean_counts",
        "noise_estimate",
        "pcc_flat",
        "spearman_flat",
        "mse_flat",
        "moran_flat",
    ]
    assert not (tmp_path / "scores.csv").exists()


def test_the_long_table_is_written_beside_the_results(tmp_path):
    outcome = scored()
    outcome.write(tmp_path)
    again = Scores(pd.read_parquet(tmp_path / "scores.parquet"))
    pd.testing.assert_frame_equal(again.frame, outcome.scores.frame)
    results = json.loads((tmp_path / "results.json").read_text())
    assert again.value("m", "pcc_m") == results["methods"]["m"]["pcc_m"]
    assert again.value("m", "pcc_m", fold="fold B") == results["folds"][1]["methods"]["m"]["pcc_m"]


def test_every_prediction_is_in_one_table():
    outcome = scored()
    folds = outcome.folds
    table = predictions_table(folds, outcome.scores)
    assert list(table.var_names) == ["G0", "G5", "G7"]
    assert table.shape == (40, 3)
    assert list(table.layers) == ["m, seed 3", "m, seed 4", "one"]
    assert table.obs["fold"].tolist() == ["fold A"] * 20 + ["fold B"] * 20
    assert table.obs_names[20] == "B:r0"
    assert np.isnan(table.X).tolist() == [[False, False, True]] * 20 + [[True, False, False]] * 20
    np.testing.assert_array_equal(table.X[20:, 1:], folds[1].source.held.observed)
    np.testing.assert_array_equal(table.layers["m, seed 4"][:20, :2], folds[0].source.predictions["m"][4].values)


def test_gene_scores_are_means_over_the_folds_that_have_the_gene():
    outcome = scored()
    var = predictions_table(outcome.folds, outcome.scores).var
    assert var["folds"].tolist() == [1, 2, 1]
    first, second = (outcome.scores.genes("pcc", "m", fold=f"fold {name}") for name in "AB")
    np.testing.assert_allclose(var["pcc_m"], [first["G0"], (first["G5"] + second["G5"]) / 2, second["G7"]])


def test_a_gene_without_a_score_in_one_fold_has_none_on_average():
    outcome = scored(constant=True)
    var = predictions_table(outcome.folds, outcome.scores).var
    assert np.isnan(var["pcc_m"]).tolist() == [False, True, False]


def test_files_hold_a_row_for_each_gene_and_for_each_run(tmp_path):
    outcome = scored()
    outcome.write(tmp_path)
    genes = pd.read_csv(tmp_path / "per_gene.csv")
    assert genes[["fold", "gene"]].to_numpy().tolist() == [
        ["fold A", "G0"],
        ["fold A", "G5"],
        ["fold B", "G5"],
        ["fold B", "G7"],
    ]
    runs = pd.read_csv(tmp_path / "scores.csv")
    assert runs[["method", "fold", "seed"]].to_numpy().tolist() == [
        ["m", "fold A", 3],
        ["m", "fold A", 4],
        ["one", "fold A", 0],
        ["m", "fold B", 3],
        ["m", "fold B", 4],
        ["one", "fold B", 0],
    ]
    assert set(METRICS) <= set(runs.columns)
    np.testing.assert_allclose(runs["pcc_m"][1], outcome.scores.value("m", "pcc_m", fold="fold A", seed=4), rtol=1e-5)


def test_layers_are_named_by_seed_where_there_are_several():
    assert layer_names("m", [5]) == {5: "m"}
    assert layer_names("m", [5, 6]) == {5: "m, seed 5", 6: "m, seed 6"}
