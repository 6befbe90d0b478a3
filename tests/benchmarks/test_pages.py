"""The page of an evaluation by a protocol shows the numbers of the tables."""

from __future__ import annotations

import re

import numpy as np
import pytest
from benchmarks.accuracy.merging import MergedPlan
from benchmarks.accuracy.pages import write_protocol_page
from benchmarks.accuracy.results import Results
from tests.benchmarks.small import METHODS, SmallPlan

from pixnet.evaluation.report.parts import Table, duration, markdown_table, number, percent
from pixnet.scoring.table import Scores

Rows = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def results(done: SmallPlan) -> Results:
    return Results(done.store.folder.parent / "results")


@pytest.fixture(scope="module")
def scores(results: Results, done: SmallPlan) -> Scores:
    return results.of(done)


@pytest.fixture(scope="module")
def merged(done: SmallPlan, tmp_path_factory: pytest.TempPathFactory) -> Scores:
    return Results(tmp_path_factory.mktemp("merged")).complete(MergedPlan(done))


@pytest.fixture(scope="module")
def page(
    results: Results, done: SmallPlan, scores: Scores, merged: Scores, tmp_path_factory: pytest.TempPathFactory
) -> str:
    out = tmp_path_factory.mktemp("pages")
    path = write_protocol_page(out, "Some data", done, results.facts(done), scores, "make it", merged)
    assert "<table" in path.with_suffix(".html").read_text(encoding="utf-8")
    return path.read_text(encoding="utf-8")


def rows_of(page: str, title: str) -> Rows:
    """Return the rows of a table by their first entry, entries by their column, without emphasis."""
    part = page[page.index(f"## {title}") :].split("\n\n")[1]
    lines = [[entry.strip().strip("*") for entry in line.strip("|").split("|")] for line in part.splitlines()]
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


def test_the_page_names_command_version_and_machine(page: str) -> None:
    assert re.search(r"Written on \d{4}-\d\d-\d\d with `make it`. Computed by pixnet [\d.]+ on .+ \(device cpu, ", page)
    assert "2 folds (A, B), seeds 0, 1; " in page
    assert "No donor is on both sides of a fold." in page


def test_scores_are_those_of_the_table(page: str, scores: Scores) -> None:
    table = rows_of(page, "Scores")
    assert list(table) == [*METHODS, "noise estimate"]
    for method in METHODS:
        for column, metric in (("PCC@M (95 %)", "pcc_m"), ("PCC@S (95 %)", "pcc_s"), ("PCC@F (95 %)", "pcc_f")):
            low, high = scores.interval(method, metric)
            value = scores.value(method, metric)
            assert table[method][column] == f"{number(value)} ({number(low)} to {number(high)})"
        assert table[method]["MSE"] == number(scores.value(method, "mse"))
        assert table[method]["share of the noise estimate"] == percent(scores.value(method, "noise_share"))
    assert table["pixnet"]["sd over seeds"] == number(scores.value("pixnet", "sd of pcc_m"))
    folds = rows_of(page, "PCC@M by fold")
    assert number(scores.value("ridge", "pcc_m", fold="A")) in str(folds)


def test_the_best_of_the_others_is_named_and_tested(page: str, scores: Scores) -> None:
    table = rows_of(page, "pixnet against the others")
    assert set(table) == {"mean", "ridge"}
    best = max(table, key=lambda name: scores.value(name, "pcc_m"))
    assert table["ridge"]["difference"] == number(scores.value("pixnet", "difference vs ridge"))
    assert table["ridge"]["ratio"] == number(scores.value("pixnet", "ratio vs ridge"), 2)
    assert f"in bold against the best of the others, {best}" in page
    assert f"| **{best}** |" in page


def test_merged_regions_and_costs_are_shown(page: str, merged: Scores, results: Results, done: SmallPlan) -> None:
    table = rows_of(page, "Merged regions: blocks of 2 x 2")
    assert table["pixnet"]["MSE"] == number(merged.value("pixnet", "mse", regions="2 x 2", seed=0))
    runs = results.facts(done)["pixnet"]
    assert rows_of(page, "What it costs")["pixnet"]["own"] == duration(np.mean([run["seconds"] for run in runs]))


def test_a_table_entry_stays_within_its_column() -> None:
    lines = markdown_table(Table(["a", "b"], [["x|y", "1\n[0, 2]"]]))
    assert lines == ["| a | b |", "|---|---:|", "| x\\|y | 1 [0, 2] |"]


def test_what_is_left_beyond_the_main_axes_is_shown(page: str, scores: Scores) -> None:
    table = rows_of(page, "Beyond the main axes")
    assert list(table) == [*METHODS, "noise estimate", "pixnet over the best other"]
    for method in METHODS:
        for axes in (1, 2, 3):
            low, high = scores.interval(method, f"pcc_m_beyond_{axes}")
            value = scores.value(method, f"pcc_m_beyond_{axes}")
            assert table[method][f"beyond {axes} (95 %)"] == f"{number(value)} ({number(low)} to {number(high)})"
        assert table[method]["axes"] == number(scores.value(method, "participation_ratio"), 1)
        assert table[method]["pairs of genes"] == number(scores.value(method, "pair_agreement"))
    assert table["noise estimate"]["axes"] == number(scores.value("noise estimate", "participation_ratio"), 1)
    ratio = scores.value("pixnet", "pcc_m_beyond_1") / scores.value("ridge", "pcc_m_beyond_1")
    if scores.value("ridge", "pcc_m_beyond_1") > 0:
        assert table["pixnet over the best other"]["beyond 1 (95 %)"] == number(ratio, 2)
