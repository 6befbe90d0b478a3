from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from pixnet.evaluation.report.grid import (
    Column,
    below,
    beside,
    comparison_table,
    ends,
    p,
    score_table,
    share,
    value,
)
from pixnet.evaluation.report.parts import DASH, markdown_table
from pixnet.evaluation.summary import comparison_rows
from pixnet.scoring.table import Scores, rows


@pytest.fixture
def scores():
    return Scores(
        pd.concat(
            [
                rows({"pcc_m": (0.5, 0.4, 0.6), "mse": 2.0}, method="net"),
                rows({"pcc_m": 0.25, "mse": 3.0}, method="mean"),
                rows({"pcc_m": 0.75}, method="net", fold="A"),
            ],
            ignore_index=True,
        )
    )


def test_any_rows_stand_against_any_columns(scores):
    columns = {"PCC@M": Column({"metric": "pcc_m"}), "MSE": Column({"metric": "mse"}, value(1))}
    by_method = score_table(scores, "method", {name: {"method": name} for name in ("net", "mean")}, columns)
    assert by_method.columns == ["method", "PCC@M", "MSE"]
    assert by_method.rows == [["net", "0.500", "2.0"], ["mean", "0.250", "3.0"]]
    across = {name: Column({"method": name}) for name in ("net", "mean")}
    by_fold = score_table(scores, "fold", {"A": {"fold": "A", "metric": "pcc_m"}, "all": {"metric": "pcc_m"}}, across)
    assert by_fold.rows == [["A", "0.750", DASH], ["all", "0.500", "0.250"]]


def test_keys_of_a_column_come_before_those_of_a_row(scores):
    columns = {"error": Column({"metric": "mse"})}
    assert score_table(scores, "", {"row": {"method": "net", "metric": "pcc_m"}}, columns).rows == [["row", "2.000"]]


def test_a_score_is_shown_in_many_ways(scores):
    shows = {"value": value(2), "ends": ends, "beside": beside, "below": below(), "share": share, "p": p}
    columns = {name: Column({"metric": "pcc_m"}, show) for name, show in shows.items()}
    table = score_table(scores, "method", {"net": {"method": "net"}, "mean": {"method": "mean"}}, columns)
    assert table.rows[0] == [
        "net",
        "0.50",
        "0.400 to 0.600",
        "0.500 (0.400 to 0.600)",
        "0.500\n(0.400 to 0.600)",
        "50 %",
        "0.500",
    ]
    # Without an interval only the score is shown.
    assert table.rows[1] == ["mean", "0.25", DASH, "0.250", "0.250", "25 %", "0.250"]


def test_a_score_that_is_not_there_is_a_dash(scores):
    for show in (value(), ends, beside, below(), share, p):
        table = score_table(scores, "", {"row": {"method": "other"}}, {"x": Column({"metric": "pcc_m"}, show)})
        assert table.rows == [["row", DASH]]


def test_a_small_p_is_below_what_the_draws_can_tell():
    assert p(0.0019, math.nan, math.nan) == "< 0.002"


def compared(folds):
    draws = np.random.default_rng(0).normal(0.2, 0.02, 1000)
    of_folds = np.full(folds, 0.2)
    return Scores(
        pd.concat(
            [
                comparison_rows(other, (0.6, 0.4), draws, of_folds, method="net", regions="disks")
                for other in ("ridge", "mean")
            ],
            ignore_index=True,
        )
    )


def test_a_comparison_has_a_row_for_each_other_method():
    scores = compared(folds=3)
    table = comparison_table(scores, "net", ["ridge", "mean"], regions="disks")
    assert table.columns == ["net against", "ratio", "difference", "95 %", "p", "better in", "of"]
    low, high = scores.interval("net", "difference vs ridge", regions="disks")
    row = ["1.50", "0.200", f"{low:.3f} to {high:.3f}", "< 0.002", "3", "3"]
    assert table.rows == [["ridge", *row], ["mean", *row]]
    elsewhere = comparison_table(scores, "net", ["ridge"])
    assert elsewhere.rows == [["ridge", *[DASH] * 6]]


def test_tests_over_folds_are_shown_where_there_are_six():
    table = comparison_table(compared(folds=6), "net", ["ridge"], regions="disks")
    assert table.columns[-2:] == ["p, signs of folds", "p, Wilcoxon over folds"]
    assert table.rows[0][-2:] == ["0.031", "0.031"]


def test_a_table_can_be_written_as_markdown(scores):
    table = score_table(scores, "method", {"net": {"method": "net"}}, {"PCC@M": Column({"metric": "pcc_m"}, below())})
    assert markdown_table(table) == ["| method | PCC@M |", "|---|---:|", "| net | 0.500 (0.400 to 0.600) |"]
