from __future__ import annotations

import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from pixnet.evaluation.folds import make_folds
from tests.evaluation.made import config, make_sample, with_counts

from pixnet.config import Config
from pixnet.errors import DataError, PixNetWarning
from pixnet.evaluation.imported import Imported
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runner import evaluate, run
from pixnet.evaluation.runs import Cells
from pixnet.evaluation.scoring.held_out import HeldOut
from pixnet.field import ExpressionField


@pytest.fixture
def samples():
    return [make_sample(name, donor, regions=8) for name, donor in (("A", "p"), ("B", "q"), ("C", "r"))]


def freeze(samples, split="loso", methods=("ridge", "mean"), seeds=(0,)):
    return Protocol.freeze(samples, make_folds(samples, split), methods, config(), split=split, seeds=seeds)


def test_a_donor_on_both_sides_is_warned_of(tmp_path):
    samples = [make_sample("A", "p"), make_sample("B", "p")]
    with pytest.warns(PixNetWarning, match=r"donor p is on both sides of the split .* nothing about new donors"):
        evaluate(samples, ["B"], tmp_path / "out", methods=["mean"], config=config())


def test_the_mean_of_the_training_samples_is_what_the_mean_predicts(tmp_path, samples):
    told = []
    outcome = evaluate(
        samples, ["C"], tmp_path / "out", methods=["mean", "mean"], config=config(),
        progress=lambda *now: told.append(now),
    )  # fmt: skip
    fold = outcome.folds[0].source
    held = HeldOut(samples[:2], fold.held.panel, 50)
    expected = held.observed[held.enough].mean(axis=0)
    np.testing.assert_allclose(fold.predictions["mean"][0].values, np.tile(expected, (8, 1)), rtol=1e-5)
    assert told == [("cells", 0, 1, ""), ("cells", 0, 1, "mean, C, seed 0"), ("cells", 1, 1, "")]
    assert "no donor is on both sides" in outcome.results["protocol"]["donor_note"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"results.json", "per_gene.csv", "predictions.h5ad"}


def test_unknown_methods_are_refused(tmp_path):
    samples = [make_sample("A"), make_sample("B")]
    for methods, words in ((["mean", "magic"], "'magic' is not known"), ([], "no method is named")):
        with pytest.raises(DataError, match=words):
            evaluate(samples, ["B"], tmp_path / "out", methods=methods, config=config())
    assert not (tmp_path / "out").exists()


def test_many_folds_and_seeds_go_on_where_they_ended(tmp_path, samples, monkeypatch):
    frozen = freeze(samples, seeds=(0, 1))
    cells, done, whole = tmp_path / "cells", [], Cells.get

    def dies(store, cell, compute):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(cell.title)
        return whole(store, cell, compute)

    with monkeypatch.context() as patch:
        patch.setattr(Cells, "get", dies)
        with pytest.raises(KeyboardInterrupt):
            run(frozen, samples, tmp_path / "out", cells=cells)
    assert not (tmp_path / "out").exists()

    told = []
    first = run(frozen, samples, tmp_path / "out", cells=cells, progress=lambda *now: told.append(now[1:]))
    # Neither ridge nor the mean is random, so a second seed has nothing new to say.
    assert told[0] == (2, 6, "")
    assert [words for _, _, words in told if words] == ["ridge, B, seed 0", "mean, B, seed 0", "ridge, C, seed 0",
                                                        "mean, C, seed 0"]  # fmt: skip
    told.clear()
    again = run(frozen, samples, tmp_path / "again", cells=cells, progress=lambda *now: told.append(now[1:]))
    assert told == [(6, 6, "")]
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("out", "again")]
    assert results[0] == results[1]
    assert first.results["methods"].keys() == again.results["methods"].keys()
    for name in ("predictions.h5ad",):
        tables = [anndata.read_h5ad(tmp_path / folder / name) for folder in ("out", "again")]
        np.testing.assert_array_equal(tables[0].layers["ridge"], tables[1].layers["ridge"])


def test_cells_are_the_same_whatever_ran_before(tmp_path, samples):
    """A cell computed again by itself, in another folder, holds the same numbers."""
    run(freeze(samples), samples, tmp_path / "all", cells=tmp_path / "cells")
    evaluate(samples, ["B"], tmp_path / "one", methods=["ridge"], config=config())
    every = anndata.read_h5ad(tmp_path / "all" / "predictions.h5ad")
    one = anndata.read_h5ad(tmp_path / "one" / "predictions.h5ad")
    part = every[every.obs["fold"] == "B", one.var_names]
    np.testing.assert_array_equal(part.layers["ridge"], one.layers["ridge"])


def test_blocks_score_each_region_once(tmp_path, samples):
    with pytest.warns(PixNetWarning, match="on both sides of a fold"):
        outcome = run(freeze(samples, "blocks:2:10", ["mean"]), samples, tmp_path / "out")
    table = anndata.read_h5ad(tmp_path / "out" / "predictions.h5ad")
    assert sorted(table.obs_names) == sorted(f"{s.id}:r{number}" for s in samples for number in range(8))
    assert outcome.results["methods"]["mean"]["per_sample"].keys() == {"A", "B", "C"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "per_gene.csv",
                                                                   "predictions.h5ad", "scores.csv"}  # fmt: skip


def test_other_inputs_than_the_protocols_are_refused(tmp_path, samples):
    def one_more(values):
        values[0, 0] += 1

    frozen = freeze(samples)
    with pytest.raises(DataError, match="counts of 'C'"):
        run(frozen, [*samples[:2], with_counts(samples[2], one_more)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def imported(path, outcome, method="ridge"):
    """Write a method's predictions as another tool would."""
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
    first = run(frozen, samples, tmp_path / "out", cells=tmp_path / "cells")
    table = Imported("theirs", imported(tmp_path / "theirs.h5ad", first))
    outcome = run(frozen, samples, tmp_path / "both", cells=tmp_path / "cells", imports={"theirs": table})
    methods = outcome.results["methods"]
    for key in ("pcc_m", "mse", "spearman_m", "moran_residual"):
        assert methods["theirs"][key] == pytest.approx(methods["ridge"][key], rel=1e-6)
    assert np.isnan(methods["theirs"]["seconds"])
    assert outcome.results["protocol"]["imports"]["theirs"].keys() == {"file", "sha256"}
    with pytest.raises(DataError, match="`imports`: there is a method 'mean' already"):
        run(frozen, samples, tmp_path / "third", imports={"mean": table})


def test_cells_that_another_process_holds_are_left_alone(tmp_path, samples):
    with Cells(tmp_path / "cells").locked(), pytest.raises(DataError, match="another process works on these cells"):
        run(freeze(samples), samples, tmp_path / "out", cells=tmp_path / "cells")
    assert not (tmp_path / "out").exists()


TINY = Config.of(
    {
        "network": {"encoder": {"name": "test_resnet", "weights": "random", "finest": 4},
                    "decoder": {"channels": [6, 6, 6], "dsub_steps": 1}},
        "training": {"steps": 4, "tiles": 2, "views": 1, "tile_um": 64.0, "warmup": 1, "evaluate_every": 2,
                     "min_counts": 50, "validation": "auto"},
        "genes": {"number": 4},
    }
)  # fmt: skip


def test_a_training_that_was_killed_goes_on_to_the_same_predictions(tmp_path, samples):
    frozen = Protocol.freeze(samples, make_folds(samples, "loso")[:1], ["pixnet"], TINY, seeds=[0])
    stages = []

    def dies(stage, done, total, words):
        if stage == "refit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(frozen, samples, tmp_path / "out", cells=tmp_path / "cells", progress=dies)
    outcomes = [
        run(frozen, samples, tmp_path / name, cells=tmp_path / cells, progress=lambda *now: stages.append(now))
        for name, cells in (("out", "cells"), ("unbroken", "others"))
    ]
    first, second = (outcome.folds[0].source.predictions["pixnet"][0].values for outcome in outcomes)
    np.testing.assert_array_equal(first, second)
    resumed = [outcome.results["protocol"]["cells"]["pixnet"][0]["resumed"] for outcome in outcomes]
    assert resumed == [True, False]
    told = [words for stage, _, _, words in stages if stage == "refit"]
    assert all(words.startswith("cell 1 of 1: pixnet, A, seed 0") for words in told)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model", "fields", "results.json"}


def test_features_that_are_found_ready_are_counted_for_whoever_finds_them(tmp_path, samples):
    """Every slide is trained on in two of three folds, so the first makes two views and the others find theirs."""
    frozen = Protocol.freeze(samples, make_folds(samples, "loso"), ["pixnet"], TINY, split="loso", seeds=[0])
    outcome = run(frozen, samples, tmp_path / "out", cells=tmp_path / "cells", device="cpu")
    views = [json.loads(path.read_text())["seconds"] for path in (tmp_path / "cells").glob("features/*/complete.json")]
    cells = outcome.results["protocol"]["cells"]["pixnet"]
    made, found = ([cell["features"][key] for cell in cells] for key in ("made", "found"))
    assert len(views) == 3
    assert min(views) > 0
    assert sum(made) == pytest.approx(sum(views))
    assert sum(found) == pytest.approx(sum(views))
    assert found[0] == made[2] == 0
    assert all(cell["seconds"] > cell["features"]["made"] for cell in cells)
    scores = outcome.results["methods"]["pixnet"]
    assert scores["seconds_shared"] == pytest.approx(np.mean(found))
    assert scores["seconds_cold"] == pytest.approx(scores["seconds"] + scores["seconds_shared"])
    assert {(cell["device"], cell["threads"]) for cell in cells} == {("cpu", torch.get_num_threads())}


def test_features_that_an_earlier_sitting_made_are_the_cells_own(tmp_path, samples):
    frozen = Protocol.freeze(samples, make_folds(samples, "loso")[:1], ["pixnet"], TINY, seeds=[0])

    def dies(stage, done, total, words):
        if stage == "search":
            raise KeyboardInterrupt

    shared = {"cells": tmp_path / "cells", "features": tmp_path / "features"}
    with pytest.raises(KeyboardInterrupt):
        run(frozen, samples, tmp_path / "out", progress=dies, **shared)
    (cell,) = run(frozen, samples, tmp_path / "out", **shared).results["protocol"]["cells"]["pixnet"]
    assert len(cell["sittings"]) == 2
    assert cell["features"]["made"] > 0
    assert cell["features"]["found"] == 0


def test_a_cell_that_has_no_field_any_more_gets_one(tmp_path, samples):
    frozen = Protocol.freeze(samples, make_folds(samples, "loso")[:1], ["pixnet"], TINY, seeds=[0])
    first = run(frozen, samples, tmp_path / "one", cells=tmp_path / "cells")
    (cell,) = (tmp_path / "cells" / "pixnet").iterdir()
    shutil.rmtree(cell / "fields")  # as of a run of many folds
    run(frozen, samples, tmp_path / "two", cells=tmp_path / "cells")
    found = ExpressionField.open(tmp_path / "two" / "fields" / "A").query(samples[0].regions)
    known = ExpressionField.open(tmp_path / "one" / "fields" / "A").query(samples[0].regions)
    np.testing.assert_array_equal(found.X, known.X)
    assert first.results["methods"]["pixnet"]["n_regions"] > 0
