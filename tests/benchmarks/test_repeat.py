"""The comparison of new scores with the tables."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.accuracy.repeat import compare
from benchmarks.accuracy.results import Results
from tests.benchmarks.small import SmallPlan

from pixnet.errors import DataError


@pytest.fixture
def results(done: SmallPlan) -> Results:
    return Results(done.store.folder.parent / "results")


def test_scores_are_equal_within_a_tolerance_or_differ(done: SmallPlan, results: Results) -> None:
    run = next(run for _, run in done.runs if run.method == "ridge")
    rows: Any = results.scores[results.scores["key"] == run.key].drop(columns=["key", "benchmark"])
    facts: dict[str, Any] = results.facts(done)["ridge"][0]
    assert compare(results, run, rows, facts) == (f"equal bit for bit, {len(rows)} scores", True)
    near, far = (rows.assign(value=rows["value"] + change) for change in (0.01, 0.03))
    elsewhere = {**facts, "machine": "Abacus"}
    assert compare(results, run, near, elsewhere) == ("PCC@M differs by up to 0.01", True)
    assert compare(results, run, far, elsewhere) == ("PCC@M differs by up to 0.03", False)
    assert compare(results, run, near, facts) == ("PCC@M differs by up to 0.01 on the same kind of machine", False)
    assert not compare(results, run, rows.iloc[1:], elsewhere)[1]


def test_a_run_that_the_tables_lack_is_refused(done: SmallPlan, results: Results) -> None:
    run = done.runs[0][1]
    results.runs = results.runs[results.runs["key"] != run.key]
    with pytest.raises(DataError, match="lacks the run 'pixnet, A, seed 0'"):
        compare(results, run, results.scores, {})
