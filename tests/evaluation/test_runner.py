from __future__ import annotations

import json
import shutil
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from tests.evaluation.made import SHORT_TRAINING, SMALLEST_NETWORK, config, make_sample, with_counts
from tests.holding import held_by_another_process

from pixnet.config import Config
from pixnet.errors import DataError, PixNetWarning
from pixnet.evaluation.held_out import HeldOut
from pixnet.evaluation.imported import Imported
from pixnet.evaluation.methods import Options
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runner import _results_folder, evaluate, run
from pixnet.evaluation.runs import RunStore
from pixnet.evaluation.splits import make_folds
from pixnet.field import ExpressionField


@pytest.fixture
def samples():
    return [make_sample(name, donor, regions=8) for name, donor in (("A", "p"), ("B", "q"), ("C", "r"))]


def freeze(samples, split="loso", methods=("ridge", "mean"), seeds=(0,)):
    return Protocol.freeze(samples, make_folds(samples, split), methods, config(), split=split, seeds=seeds)


def calls_of(progress, first=0):
    """Return options that append each call of their progress to a list, from one of its arguments on."""
    return Options(progress=lambda *call: progress.append(call[first:]))


def interrupted_in(wanted):
    """Return options that interrupt an evaluation in a stage."""

    def progress(stage, done, total, words):
        if stage == wanted:
            raise KeyboardInterrupt

    return Options(progress=progress)


def test_a_donor_on_both_sides_is_warned_of(tmp_path):
    samples = [make_sample("A", "p"), make_sample("B", "p")]
    with pytest.warns(PixNetWarning, match=r"donor p is on both sides of the split .* nothing about new donors"):
        evaluate(samples, ["B"], tmp_path / "out", methods=["mean"], config=config())


def test_the_mean_of_the_training_samples_is_what_the_mean_predicts(tmp_path, samples):
    calls = []
    outcome = evaluate(
        samples, ["C"], tmp_path / "out", methods=["mean", "mean"], config=config(), options=calls_of(calls)
    )
    fold = outcome.folds[0].source
    held = HeldOut(samples[:2], fold.held.panel, 50)
    expected = held.observed[held.enough].mean(axis=0)
    np.testing.assert_allclose(fold.predictions["mean"][0].values, np.tile(expected, (8, 1)), rtol=1e-5)
    assert calls == [("runs", 0, 1, ""), ("runs", 0, 1, "mean, C, seed 0"), ("runs", 1, 1, "")]
    assert "no donor is on both sides" in outcome.results["protocol"]["donor_note"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"results.json", "scores.parquet", "per_gene.csv", "predictions.h5ad"}


def test_unknown_methods_are_refused(tmp_path):
    samples = [make_sample("A"), make_sample("B")]
    for methods, words in ((["mean", "magic"], "'magic' is not known"), ([], "no method is named")):
        with pytest.raises(DataError, match=words):
            evaluate(samples, ["B"], tmp_path / "out", methods=methods, config=config())
    assert not (tmp_path / "out").exists()


def test_many_folds_and_seeds_continue_where_they_were_interrupted(tmp_path, samples, monkeypatch):
    frozen = freeze(samples, seeds=(0, 1))
    runs, done, get = tmp_path / "runs", [], RunStore.get

    def interrupted(store, run, compute):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(run.title)
        return get(store, run, compute)

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "get", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(frozen, samples, tmp_path / "out", runs=runs)
    assert not (tmp_path / "out").exists()

    calls = []
    first = run(frozen, samples, tmp_path / "out", runs=runs, options=calls_of(calls, 1))
    # Neither ridge nor the mean is random, so they are not run with the second seed.
    assert calls[0] == (2, 6, "")
    assert [words for _, _, words in calls if words] == [
        "ridge, B, seed 0",
        "mean, B, seed 0",
        "ridge, C, seed 0",
        "mean, C, seed 0",
    ]
    calls.clear()
    again = run(frozen, samples, tmp_path / "again", runs=runs, options=calls_of(calls, 1))
    assert calls == [(6, 6, "")]
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("out", "again")]
    assert results[0] == results[1]
    assert first.results["methods"].keys() == again.results["methods"].keys()
    tables = [anndata.read_h5ad(tmp_path / folder / "predictions.h5ad") for folder in ("out", "again")]
    np.testing.assert_array_equal(tables[0].layers["ridge"], tables[1].layers["ridge"])


def test_a_run_is_the_same_whatever_ran_before_it(tmp_path, samples):
    """A run computed again alone, in another folder, holds the same numbers."""
    run(freeze(samples), samples, tmp_path / "all", runs=tmp_path / "runs")
    evaluate(samples, ["B"], tmp_path / "single", methods=["ridge"], config=config())
    of_all = anndata.read_h5ad(tmp_path / "all" / "predictions.h5ad")
    single = anndata.read_h5ad(tmp_path / "single" / "predictions.h5ad")
    part = of_all[of_all.obs["fold"] == "B", single.var_names]
    np.testing.assert_array_equal(part.layers["ridge"], single.layers["ridge"])


def test_blocks_score_each_region_once(tmp_path, samples):
    with pytest.warns(PixNetWarning, match="on both sides of a fold"):
        outcome = run(freeze(samples, "blocks:2:10", ["mean"]), samples, tmp_path / "out")
    table = anndata.read_h5ad(tmp_path / "out" / "predictions.h5ad")
    assert sorted(table.obs_names) == sorted(f"{s.id}:r{number}" for s in samples for number in range(8))
    assert outcome.results["methods"]["mean"]["per_sample"].keys() == {"A", "B", "C"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json",
        "scores.parquet",
        "per_gene.csv",
        "predictions.h5ad",
        "scores.csv",
    }


def test_other_inputs_than_the_protocols_are_refused(tmp_path, samples):
    def one_more(values):
        values[0, 0] += 1

    frozen = freeze(samples)
    with pytest.raises(DataError, match="counts of 'C'"):
        run(frozen, [*samples[:2], with_counts(samples[2], one_more)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def imported(path, outcome, method="ridge"):
    """Write a method's predictions as another tool would, and return the path."""
    frames = []
    for fold in outcome.folds:
        values = fold.source.predictions[method][0].values
        for number, sample in enumerate(fold.source.held.samples):
            rows = fold.source.held.owner == number
            names = [f"{sample.id}:{name}" for name in sample.counts.region_names()]
            frames.append(pd.DataFrame(values[rows], index=names, columns=fold.source.held.panel.names))
    anndata.AnnData(pd.concat(frames)).write_h5ad(path)  # NaN for genes of other folds
    return path


def test_imported_predictions_are_scored_like_any_others(tmp_path, samples):
    frozen = freeze(samples)
    first = run(frozen, samples, tmp_path / "out", runs=tmp_path / "runs")
    table = Imported("theirs", imported(tmp_path / "theirs.h5ad", first))
    outcome = run(frozen, samples, tmp_path / "both", runs=tmp_path / "runs", imports={"theirs": table})
    methods = outcome.results["methods"]
    for key in ("pcc_m", "mse", "spearman_m", "moran_residual"):
        assert methods["theirs"][key] == pytest.approx(methods["ridge"][key], rel=1e-6)
    assert np.isnan(methods["theirs"]["seconds"])
    assert outcome.results["protocol"]["imports"]["theirs"].keys() == {"file", "sha256"}
    with pytest.raises(DataError, match="`imports`: there is a method 'mean' already"):
        run(frozen, samples, tmp_path / "third", imports={"mean": table})
    with pytest.raises(DataError, match="`imports`: there is a method 'noise estimate' already"):
        run(frozen, samples, tmp_path / "third", imports={"noise estimate": table})


def test_runs_that_another_process_works_on_are_left_alone(tmp_path, samples):
    with held_by_another_process(tmp_path / "runs"), pytest.raises(DataError, match="is being written by process"):
        run(freeze(samples), samples, tmp_path / "out", runs=tmp_path / "runs")
    assert not (tmp_path / "out").exists()


TINY = Config.from_dict(
    {
        "network": SMALLEST_NETWORK,
        "training": {**SHORT_TRAINING, "steps": 4, "evaluate_every": 2, "min_counts": 50},
        "genes": {"number": 4},
    }
)


def test_a_training_that_was_interrupted_continues_to_the_same_predictions(tmp_path, samples):
    frozen = Protocol.freeze(samples, make_folds(samples, "loso")[:1], ["pixnet"], TINY, seeds=[0])
    with pytest.raises(KeyboardInterrupt):
        run(frozen, samples, tmp_path / "out", runs=tmp_path / "runs", options=interrupted_in("refit"))
    calls = []
    outcomes = [
        run(frozen, samples, tmp_path / name, runs=tmp_path / runs, options=calls_of(calls))
        for name, runs in (("out", "runs"), ("uninterrupted", "others"))
    ]
    first, second = (outcome.folds[0].source.predictions["pixnet"][0].values for outcome in outcomes)
    np.testing.assert_array_equal(first, second)
    resumed = [outcome.results["protocol"]["runs"]["pixnet"][0]["resumed"] for outcome in outcomes]
    assert resumed == [True, False]
    refit = [words for stage, _, _, words in calls if stage == "refit"]
    assert refit
    assert all(words.startswith("run 1 of 1: pixnet, A, seed 0") for words in refit)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model", "fields", "results.json"}


def test_features_that_are_found_ready_are_counted_for_the_run_that_finds_them(tmp_path, samples):
    """Each slide is trained on in two of three folds: the first run makes two views, and the others find theirs."""
    frozen = Protocol.freeze(samples, make_folds(samples, "loso"), ["pixnet"], TINY, split="loso", seeds=[0])
    outcome = run(frozen, samples, tmp_path / "out", runs=tmp_path / "runs", options=Options(device="cpu"))
    views = [json.loads(path.read_text())["seconds"] for path in (tmp_path / "runs").glob("features/*/*/view.json")]
    runs = outcome.results["protocol"]["runs"]["pixnet"]
    made, found = ([facts["features"][key] for facts in runs] for key in ("made", "found"))
    assert len(views) == 3
    assert min(views) > 0
    assert sum(made) == pytest.approx(sum(views))
    assert sum(found) == pytest.approx(sum(views))
    assert found[0] == made[2] == 0
    assert all(facts["seconds"] > facts["features"]["made"] for facts in runs)
    scores = outcome.results["methods"]["pixnet"]
    assert scores["seconds_shared"] == pytest.approx(np.mean(found))
    assert scores["seconds_cold"] == pytest.approx(scores["seconds"] + scores["seconds_shared"])
    assert {(facts["device"], facts["threads"]) for facts in runs} == {("cpu", torch.get_num_threads())}


def test_features_that_an_earlier_session_made_belong_to_the_run(tmp_path, samples):
    frozen = Protocol.freeze(samples, make_folds(samples, "loso")[:1], ["pixnet"], TINY, seeds=[0])
    runs, features = tmp_path / "runs", tmp_path / "features"
    interrupted = replace(interrupted_in("search"), cache=features)
    with pytest.raises(KeyboardInterrupt):
        run(frozen, samples, tmp_path / "out", runs=runs, options=interrupted)
    outcome = run(frozen, samples, tmp_path / "out", runs=runs, options=Options(cache=features))
    (facts,) = outcome.results["protocol"]["runs"]["pixnet"]
    assert len(facts["sessions"]) == 2
    assert facts["features"]["made"] > 0
    assert facts["features"]["found"] == 0


def test_a_run_that_was_stored_without_its_field_gets_one(tmp_path, samples):
    frozen = Protocol.freeze(samples, make_folds(samples, "loso")[:1], ["pixnet"], TINY, seeds=[0])
    first = run(frozen, samples, tmp_path / "first", runs=tmp_path / "runs")
    (stored,) = (tmp_path / "runs" / "pixnet").iterdir()
    shutil.rmtree(stored / "fields")  # as of an evaluation with many folds
    run(frozen, samples, tmp_path / "second", runs=tmp_path / "runs")
    tables = [
        ExpressionField.open(tmp_path / name / "fields" / "A").query(samples[0].regions) for name in ("first", "second")
    ]
    np.testing.assert_array_equal(tables[1].X, tables[0].X)
    assert first.results["methods"]["pixnet"]["n_regions"] > 0


# The folder of the results


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_failure_leaves_the_results_that_were_there(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("good")
    (out / "notes").write_text("mine")

    def fail():
        with _results_folder(out, overwrite=True) as folder:
            (folder / "results.json").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert contents(out) == {"results.json": "good", "notes": "mine"}
    with _results_folder(out, overwrite=True) as folder:
        (folder / "results.json").write_text("better")
    assert contents(out) == {"results.json": "better", "notes": "mine"}


def test_a_folder_that_cannot_be_replaced_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other" / "model").mkdir(parents=True)
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "results.json").write_text("good")
    for name, words in (("file", "is a file"), ("other", "holds 'model' but no"), ("done", "or `overwrite=True`")):
        with pytest.raises(DataError, match=words), _results_folder(tmp_path / name, overwrite=False):
            pass
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "other" / "model").is_dir()
    assert contents(tmp_path / "done") == {"results.json": "good"}


def test_runs_in_the_folder_of_the_results_stay(tmp_path):
    (tmp_path / "out" / "runs").mkdir(parents=True)
    (tmp_path / "out" / "runs" / "first").write_text("stored")
    with _results_folder(tmp_path / "out", overwrite=False) as folder:
        (folder / "results.json").write_text("{}")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"runs", "results.json"}
    assert contents(tmp_path / "out" / "runs") == {"first": "stored"}
