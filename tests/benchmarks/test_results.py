"""The two tables of results: what is missing is computed, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from benchmarks.accuracy.results import Results
from benchmarks.accuracy.scales_plan import SCALES_VERSION
from tests.benchmarks.small import CONFIG, SCALE_METHODS, SmallPlan, SmallScales, freeze
from tests.holding import held_by_another_process

from pixnet.errors import DataError, PixNetWarning
from pixnet.evaluation.baselines import BASELINES
from pixnet.evaluation.runs import Run
from pixnet.scoring.table import KEYS


def copied(plan: Any, folder: Path) -> Results:
    """Copy the results of a plan, which are beside its runs."""
    shutil.copytree(plan.store.folder.parent / "results", folder)
    return Results(folder)


def without(results: Results, run: Run) -> Results:
    """Delete the rows of a run from both files."""
    for name in ("runs", "scores"):
        path = results.folder / f"{name}.parquet"
        table = pd.read_parquet(path)
        assert run.key in set(table["key"])
        table[table["key"] != run.key].to_parquet(path)
    return Results(results.folder)


def in_order(results: Results) -> pd.DataFrame:
    return results.scores.sort_values(["key", *KEYS], ignore_index=True)


def assert_same_scores(results: Results, others: Results) -> None:
    pd.testing.assert_frame_equal(in_order(results), in_order(others), check_exact=True)


def test_what_is_missing_is_computed_and_written(done: SmallPlan) -> None:
    assert done.computed == [*(run.title for _, run in done.runs), "summary"]
    assert len(done.runs) == 2 * (2 + 1 + 1)  # folds; two seeds of pixnet, one of the others
    results = Results(done.store.folder.parent / "results")
    assert set(results.runs["key"]) == set(results.scores["key"]) == {
        done.summary.key, *(run.key for _, run in done.runs)
    }  # fmt: skip
    row = results.runs.set_index("key").loc[done.runs[0][1].key]
    assert (row["benchmark"], row["method"], row["fold"], row["seed"]) == ("small", "pixnet", "A", 0)
    assert row["seconds"] > 0
    facts = results.facts(done)
    assert {method: len(runs) for method, runs in facts.items()} == {"pixnet": 4, "mean": 2, "ridge": 2}
    assert facts["pixnet"][0]["chosen"]["steps"] == 3
    assert facts["pixnet"][0]["settings"]["network"]["mpp"] == 2.0


def test_the_second_time_everything_is_there(done: SmallPlan, tmp_path: Path) -> None:
    first = copied(done, tmp_path / "results")
    again = SmallPlan(done.protocols, tmp_path / "runs")
    scores = Results(tmp_path / "results").complete(again)
    assert again.computed == []
    assert "samples" not in vars(again)  # they are not even read
    assert not (tmp_path / "runs").exists()
    pd.testing.assert_frame_equal(scores.frame, first.of(done).frame)


@pytest.mark.parametrize("method", ["pixnet", "mean", "ridge"])
def test_a_deleted_run_is_computed_again_with_the_same_scores(done: SmallPlan, tmp_path: Path, method: str) -> None:
    run = next(run for _, run in done.runs if run.method == method and run.fold == "B")
    results = without(copied(done, tmp_path / "results"), run)
    again = SmallPlan(done.protocols, tmp_path / "empty")
    scores = results.complete(again)
    assert again.computed == [run.title]
    before = Results(done.store.folder.parent / "results")
    assert_same_scores(Results(tmp_path / "results"), before)
    # The order of methods in tables does not change either.
    pd.testing.assert_frame_equal(scores.frame, before.of(done).frame, check_exact=True)


@pytest.mark.parametrize("method", ["pixnet", "colour-ridge"])
def test_a_deleted_run_on_virtual_tissue_too(done_scales: SmallScales, tmp_path: Path, method: str) -> None:
    run = next(run for variant, run in done_scales.runs if run.method == method and not variant)
    results = without(copied(done_scales, tmp_path / "results"), run)
    again = SmallScales(tmp_path / "empty")
    results.complete(again)
    assert again.computed == [run.title]
    assert_same_scores(Results(tmp_path / "results"), Results(done_scales.store.folder.parent / "results"))


def test_a_kill_loses_one_run_at_most(done: SmallPlan, tmp_path: Path) -> None:
    class Killed(SmallPlan):
        def score(self, variant: str, run: Run) -> Any:
            if len(self.computed) == 2:
                raise KeyboardInterrupt
            return super().score(variant, run)

    plan = Killed({"": freeze(Path(done.protocols[""].manifests[0]), ("mean", "ridge"))}, tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        Results(tmp_path / "results").complete(plan)
    written = Results(tmp_path / "results")
    assert [run.title for _, run in written.missing(plan)] == [
        *(run.title for _, run in plan.runs[2:]), plan.summary.title
    ]  # fmt: skip


def test_a_new_version_of_a_method_computes_its_runs_alone(
    done: SmallPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = copied(done, tmp_path / "results")
    before = len(results.runs), len(results.scores)
    old = {run.key for _, run in done.runs if run.method == "ridge"} | {done.summary.key}
    monkeypatch.setattr(BASELINES["ridge"], "METHOD_VERSION", 99)
    plan = SmallPlan(done.protocols, done.store.folder)
    with pytest.warns(PixNetWarning, match="ridge: the method's version"):
        results.complete(plan)
    assert plan.computed == ["ridge, A, seed 0", "ridge, B, seed 0", "summary"]
    written = Results(tmp_path / "results")
    assert not old & {*written.runs["key"], *written.scores["key"]}
    assert (len(written.runs), len(written.scores)) == before
    assert set(written.runs.loc[written.runs["method"] == "ridge", "version"]) == {"99"}


def test_a_summary_of_fewer_methods_leaves_the_others(done: SmallPlan, tmp_path: Path) -> None:
    results = copied(done, tmp_path / "results")
    protocol = done.protocols[""]
    fewer = protocol.model_copy(update={"methods": {name: protocol.methods[name] for name in ("mean", "ridge")}})
    plan = SmallPlan({"": fewer}, done.store.folder)
    results.complete(plan)
    assert plan.computed == ["summary"]
    assert Results(tmp_path / "results").missing(done) == []


def test_the_order_of_methods_changes_no_summary(done: SmallPlan, tmp_path: Path) -> None:
    protocol = done.protocols[""]
    turned = protocol.model_copy(update={"methods": dict(reversed(protocol.methods.items()))})
    assert SmallPlan({"": turned}, tmp_path).summary.key == done.summary.key
    straight, reverse = (SmallScales(tmp_path, methods) for methods in (SCALE_METHODS, SCALE_METHODS[::-1]))
    assert straight.summary.key == reverse.summary.key


def test_scores_of_other_methods_seeds_settings_or_versions_are_other_summaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(methods: tuple[str, ...] = ("mean",), **options: Any) -> str:
        return SmallScales(tmp_path, methods, **{"variants": {}, **options}).summary.key

    first = key()
    variants = {"longer": CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"steps": 9})})}
    keys = [first, key(("mean", "ridge")), key(seeds=(1,)), key(redraws=3), key(("mean",), variants=variants)]
    monkeypatch.setattr("benchmarks.accuracy.scales_plan.SCALES_VERSION", SCALES_VERSION + 1)
    keys.append(key())
    assert len(set(keys)) == len(keys) == 6
    monkeypatch.undo()
    assert key() == first


def test_two_processes_do_not_compute_the_same_runs(done: SmallPlan, tmp_path: Path) -> None:
    plan = SmallPlan(done.protocols, tmp_path / "runs")
    with held_by_another_process(tmp_path / "runs"), pytest.raises(DataError, match="is being written by process"):
        Results(tmp_path / "results").complete(plan)
    assert plan.computed == []


def test_a_new_score_is_added_to_all_runs_from_their_predictions(done: SmallPlan, tmp_path: Path) -> None:
    results = copied(done, tmp_path / "results")
    path = results.folder / "scores.parquet"
    results.scores[results.scores["metric"] != "pair_agreement"].to_parquet(path)
    again = SmallPlan(done.protocols, done.store.folder)
    earlier = Results(results.folder)
    earlier.complete(again)
    assert again.computed == []
    earlier.complete(again, rescore=True)
    assert again.computed == ["summary"]
    assert_same_scores(Results(results.folder), copied(done, tmp_path / "unchanged"))
