from __future__ import annotations

import numpy as np
import pandas as pd
from pixnet.evaluation.tables import layer_names, predictions_table, write_tables
from tests.evaluation.made import fold_of, held_out

from pixnet.evaluation.scoring.scores import SUMMARIES, FoldScores


def scored(constant=False):
    folds = []
    for number, (name, genes) in enumerate((("A", ("G0", "G5")), ("B", ("G5", "G7")))):
        held = held_out(name, genes)
        if constant and name == "B":
            held.observed[:, 0] = 2.0
        rng = np.random.default_rng(number)
        guess = {seed: held.observed + rng.normal(size=held.observed.shape) for seed in (3, 4)}
        folds.append(FoldScores.of(fold_of(held, {"m": guess, "one": guess[3]}, name=f"fold {name}"), 0))
    return folds


def test_every_prediction_is_in_one_table():
    folds = scored()
    table = predictions_table(folds)
    assert list(table.var_names) == ["G0", "G5", "G7"]
    assert table.shape == (40, 3)
    assert list(table.layers) == ["m, seed 3", "m, seed 4", "one"]
    assert table.obs["fold"].tolist() == ["fold A"] * 20 + ["fold B"] * 20
    assert table.obs_names[20] == "B:r0"
    assert np.isnan(table.X).tolist() == [[False, False, True]] * 20 + [[True, False, False]] * 20
    np.testing.assert_array_equal(table.X[20:, 1:], folds[1].source.held.observed)
    np.testing.assert_array_equal(table.layers["m, seed 4"][:20, :2], folds[0].source.predictions["m"][4].values)


def test_gene_scores_are_means_over_the_folds_that_have_the_gene():
    folds = scored()
    var = predictions_table(folds).var
    assert var["folds"].tolist() == [1, 2, 1]
    first, second = (fold.per_gene()["pcc_m"] for fold in folds)
    np.testing.assert_allclose(var["pcc_m"], [first[0], (first[1] + second[0]) / 2, second[1]])


def test_a_gene_without_a_score_in_one_fold_has_none_on_average():
    var = predictions_table(scored(constant=True)).var
    assert np.isnan(var["pcc_m"]).tolist() == [False, True, False]


def test_files_by_gene_and_by_cell(tmp_path):
    folds = scored()
    write_tables(folds, tmp_path)
    genes = pd.read_csv(tmp_path / "per_gene.csv")
    assert genes[["fold", "gene"]].to_numpy().tolist() == [
        ["fold A", "G0"], ["fold A", "G5"], ["fold B", "G5"], ["fold B", "G7"],
    ]  # fmt: skip
    cells = pd.read_csv(tmp_path / "scores.csv")
    assert cells[["method", "fold", "seed"]].to_numpy().tolist() == [
        ["m", "fold A", 3], ["m", "fold A", 4], ["one", "fold A", 0],
        ["m", "fold B", 3], ["m", "fold B", 4], ["one", "fold B", 0],
    ]  # fmt: skip
    assert set(SUMMARIES) <= set(cells.columns)
    np.testing.assert_allclose(cells["pcc_m"][1], folds[0].methods["m"][4].summary["pcc_m"], rtol=1e-5)


def test_layers_are_called_by_seed_where_there_are_several():
    assert layer_names("m", [5]) == {5: "m"}
    assert layer_names("m", [5, 6]) == {5: "m, seed 5", 6: "m, seed 6"}
