from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from pixnet.scoring.table import ALL, COLUMNS, Scores, gene_rows, rows


@pytest.fixture
def scores():
    return Scores(
        pd.concat(
            [
                rows({"pcc_m": (0.5, 0.4, 0.6), "mse": 2.0}, method="net"),
                rows({"pcc_m": 0.3}, method="net", fold="A", seed="7"),
                rows({"pcc_m": 0.2}, method="net", sample="S"),
                rows({"pcc_m": 0.1}, method="mean", regions="all"),
                gene_rows("pcc", ["G1", "G0"], [0.8, 0.6], method="net", fold="A"),
                gene_rows("pcc", ["G0", "G2"], [0.4, math.nan], method="net", fold="B"),
            ],
            ignore_index=True,
        )
    )


def test_a_row_is_one_number_and_keys_left_out_stand_for_all():
    frame = rows({"pcc_m": (0.5, 0.4, 0.6), "mse": 2.0}, method="net", fold="A")
    assert tuple(frame.columns) == COLUMNS
    first, second = frame.to_dict("records")
    assert (first["method"], first["fold"], first["metric"]) == ("net", "A", "pcc_m")
    assert (first["value"], first["low"], first["high"]) == (0.5, 0.4, 0.6)
    assert {first[key] for key in ("seed", "sample", "gene")} == {ALL}
    assert (first["regions"], first["target"], first["variant"]) == ("enough", "measured", "")
    assert second["value"] == 2.0
    assert np.isnan([second["low"], second["high"]]).all()


def test_rows_of_genes_hold_one_metric_by_gene():
    frame = gene_rows("pcc", ["G0", "G1"], [0.5, math.nan], method="net", fold="A")
    assert tuple(frame.columns) == COLUMNS
    assert frame["gene"].tolist() == ["G0", "G1"]
    assert set(frame["metric"]) == {"pcc"}
    np.testing.assert_array_equal(frame["value"], [0.5, math.nan])


def test_a_score_is_found_by_its_keys(scores):
    assert scores.value("net", "pcc_m") == 0.5
    assert scores.interval("net", "pcc_m") == [0.4, 0.6]
    assert scores.entry(method="net", metric="pcc_m") == (0.5, 0.4, 0.6)
    assert scores.value("net", "pcc_m", sample="S") == 0.2
    assert scores.value("mean", "pcc_m", regions="all") == 0.1
    # A seed is text in the table, and may be given as a number.
    assert scores.value("net", "pcc_m", fold="A", seed=7) == scores.value("net", "pcc_m", fold="A", seed="7") == 0.3


def test_a_score_that_is_not_there_is_nan(scores):
    assert math.isnan(scores.value("other", "pcc_m"))
    assert math.isnan(scores.value("net", "pcc_m", fold="A"))
    assert np.isnan(scores.interval("net", "mse")).all()
    assert np.isnan(scores.entry(method="mean", metric="pcc_m")).all()


def test_values_of_a_key_are_in_the_order_of_the_table(scores):
    assert scores.values("method") == ["net", "mean"]
    assert scores.values("sample", method="net") == ["S"]
    assert scores.values("fold", metric="pcc") == ["A", "B"]
    assert scores.values("seed", method="mean") == []
    assert scores.values("seed", method="net", seed=7) == ["7"]


def test_a_gene_that_has_no_value_in_one_fold_has_none_on_average(scores):
    of_genes = scores.genes("pcc", "net")
    assert list(of_genes.index) == ["G1", "G0", "G2"]
    np.testing.assert_allclose(of_genes, [0.8, 0.5, math.nan])
    np.testing.assert_allclose(scores.genes("pcc", "net", fold="A"), [0.8, 0.6])


def test_scores_are_found_again_in_a_parquet_file(scores, tmp_path):
    scores.frame.to_parquet(tmp_path / "scores.parquet", index=False)
    again = Scores(pd.read_parquet(tmp_path / "scores.parquet"))
    assert again.entry(method="net", metric="pcc_m") == (0.5, 0.4, 0.6)
    assert again.value("net", "pcc_m", fold="A", seed=7) == 0.3
    assert again.values("method") == ["net", "mean"]
