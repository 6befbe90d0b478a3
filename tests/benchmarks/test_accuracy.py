from __future__ import annotations

import re

import numpy as np
import pytest
from benchmarks.accuracy.accuracy import accuracy_page
from pixnet.evaluation.report.markdown import markdown_table
from tests.evaluation.made import fold_of, held_out

from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.parts import Table
from pixnet.evaluation.results import summarise

CELL = {"key": "k", "fold": "fold", "seed": 4, "device": "cpu", "threads": 3, "machine": "Abacus, 2 cores",
        "environment": {"pixnet": "9.9"}}  # fmt: skip


@pytest.fixture
def done(tmp_path):
    held = held_out("AB")
    rng = np.random.default_rng(0)

    def near(spread):
        return held.observed + rng.normal(size=held.observed.shape) * spread

    predictions = {"pixnet": {4: near(0.3), 9: near(0.3)}, "near": near(0.5), "far": near(3.0)}
    protocol = {"cells": {"pixnet": [CELL, CELL]}, "seeds": [4, 9], "donor_note": "no donor is on both sides."}
    summarise([fold_of(held, predictions)], protocol, 0).write(tmp_path)
    return Evaluated.read(tmp_path)


def rows_of(page, title):
    """Give the rows of a table, cells without their emphasis, by the first cell."""
    part = page[page.index(f"## {title}") :].split("\n\n")[1]
    rows = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in part.splitlines()]
    return rows[0], {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_the_page_tells_what_the_results_hold(done):
    page = accuracy_page(done, "Some data", "make it", [Table(["what"], [["one more"]], title="Besides")])
    methods = done.results["methods"]
    assert re.search(r"Written on \d{4}-\d\d-\d\d with `make it`. Computed by pixnet 9.9 on Abacus, 2 cores", page)
    assert "(device cpu, threads 3)" in page
    _, scores = rows_of(page, "Scores")
    for name, one in methods.items():
        for column, key in (("PCC@M (95 %)", "pcc_m"), ("PCC@S (95 %)", "pcc_s"), ("PCC@F (95 %)", "pcc_f")):
            low, high = one["intervals"]["blocks"][key]
            assert scores[name][column].replace("\N{MINUS SIGN}", "-") == f"{one[key]:.3f} ({low:.3f} to {high:.3f})"
        assert scores[name]["MSE"] == f"{one['mse']:.3f}"
        assert scores[name]["share of the noise estimate"] == f"{100 * one['noise_share']:.0f} %"
    assert scores["pixnet"]["sd over seeds (number)"] == f"{methods['pixnet']['sd_over_seeds']['pcc_m']:.3f} (2)"
    assert "one more" in rows_of(page, "Besides")[1]
    assert rows_of(page, "What it costs")[1]["pixnet"]["time of a fold"] == "1 s"


def test_the_best_of_the_others_is_named_and_tested(done):
    page = accuracy_page(done, "Some data", "make it")
    _, rows = rows_of(page, "pixnet against the others")
    test = done.results["paired"]["against"]["near"]
    assert set(rows) == {"near", "far"}
    assert rows["near"]["ratio"] == f"{test['ratio']:.2f}"
    assert rows["near"]["difference"] == f"{test['difference']:.3f}"
    assert "in bold against the best of the others, near" in page
    assert "| **near** |" in page
    assert "| **far** |" not in page


def test_a_cell_stays_within_its_column():
    lines = markdown_table(Table(["a", "b"], [["x|y", "1\n[0, 2]"]]))
    assert lines == ["| a | b |", "|---|---:|", "| x\\|y | 1 [0, 2] |"]
