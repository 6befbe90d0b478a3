from __future__ import annotations

import csv
import json
import shutil

import anndata
import numpy as np
import pytest

from pixnet.field import ExpressionField

SCORES = {"mse", "mae", "pcc_f", "pcc_s", "pcc_m", "n_regions", "n_genes", "seconds", "peak_rss_mb"}


@pytest.fixture(scope="module")
def evaluated(data, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated") / "out"
    arguments = ("--hold-out", "C", "--methods", "pixnet,ridge,mean", "--config", data / "small.toml", "--out", out)
    done = run("evaluate", data / "samples.toml", *arguments)
    assert done.status == 0, done.err
    return done, out


def test_the_results_have_their_shape(evaluated):
    _, out = evaluated
    results = json.loads((out / "results.json").read_text())
    assert {"protocol", "methods", "noise_estimate", "excluded_regions", "per_gene"} <= results.keys()
    assert list(results["methods"]) == ["pixnet", "ridge", "mean"]
    for scores in results["methods"].values():
        assert scores.keys() >= SCORES
        assert scores["n_genes"] == 12
        assert scores["seconds"] > 0
        assert scores["peak_rss_mb"] > 100
        low, high = scores["interval_blocks"]
        assert low <= scores["pcc_m"] <= high
        assert scores["unfiltered"]["n_regions"] == scores["n_regions"] + results["excluded_regions"]
    assert results["noise_estimate"].keys() >= {"pcc_f", "pcc_s", "pcc_m"}
    protocol = results["protocol"]
    assert (protocol["train"], protocol["test"], protocol["min_counts"]) == (["A", "B"], ["C"], 100)
    assert protocol["donors_on_both_sides"] == ["breast-donor-42"]
    assert {name: len(facts["slide_sha256"]) for name, facts in protocol["data"].items()} == dict.fromkeys("ABC", 64)


def test_the_tables_agree_with_the_results(evaluated):
    _, out = evaluated
    results = json.loads((out / "results.json").read_text())
    table = anndata.read_h5ad(out / "predictions.h5ad")
    kept = np.asarray(table.obs["kept"], bool)
    assert kept.sum() == results["methods"]["pixnet"]["n_regions"]
    assert set(table.layers) == {"pixnet", "ridge", "mean"}
    error = np.asarray(table.layers["ridge"], float)[kept] - np.asarray(table.X, float)[kept]
    assert np.mean(error**2) == pytest.approx(results["methods"]["ridge"]["mse"], rel=1e-5)
    with (out / results["per_gene"]).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["gene"] for row in rows] == results["protocol"]["genes"] == list(table.var_names)
    mean = np.mean([float(row["pcc_pixnet"]) for row in rows])
    assert mean == pytest.approx(results["methods"]["pixnet"]["pcc_m"], abs=1e-5)


def test_the_model_and_its_field_are_in_the_results(evaluated, data):
    _, out = evaluated
    card = json.loads((out / "model" / "card.json").read_text())
    assert [sample["id"] for sample in card["samples"]] == ["A", "B"]
    assert (out / "model" / "metrics.csv").is_file()
    field = ExpressionField.open(out / "fields" / "C")
    assert list(field.gene_names) == json.loads((out / "results.json").read_text())["protocol"]["genes"]
    names = {path.name for path in out.iterdir()}
    tables = {"scores.parquet", "per_gene.csv", "predictions.h5ad"}
    assert names == {"model", "fields", "results.json", "report.html"} | tables


def test_a_table_is_printed_with_a_warning_about_the_donor(evaluated):
    done, out = evaluated
    lines = done.out.splitlines()
    assert lines[0].split()[:4] == ["method", "PCC@F", "PCC@S", "PCC@M"]
    assert [line.split()[0] for line in lines[1:4]] == ["pixnet", "ridge", "mean"]
    assert lines[-2:] == [f"Results: {out / 'results.json'}", f"Report: {out / 'report.html'}"]
    warned = [line for line in done.messages if line.startswith("Warning: ")]
    assert len(warned) == 1
    assert "donor breast-donor-42 is on both sides" in warned[0]
    assert "nothing about new donors" in warned[0]


def test_results_are_not_overwritten_unasked(evaluated, data, run):
    _, out = evaluated
    done = run("evaluate", data / "samples.toml", "--hold-out", "C", "--out", out)
    done.assert_refused(str(out), "results.json already", "--overwrite")


def test_a_failed_run_leaves_good_results(evaluated, data, run, tmp_path):
    out = shutil.copytree(evaluated[1], tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    # The encoder's depth and the decoder's widths contradict each other, which shows when the network is made.
    (tmp_path / "bad.toml").write_text((data / "small.toml").read_text().replace("[8, 8, 8, 8]", "[8, 8]"))
    arguments = ("--hold-out", "C", "--overwrite", "--config", tmp_path / "bad.toml", "--out", out)
    run("evaluate", data / "samples.toml", *arguments).assert_refused("channels")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_results_are_replaced_when_asked(evaluated, data, run, tmp_path):
    out = shutil.copytree(evaluated[1], tmp_path / "out")
    arguments = ("--samples", "A,C", "--hold-out", "C", "--methods", "mean", "--min-counts", "50", "--seeds", "3")
    done = run("evaluate", data / "samples.toml", *arguments, "--genes", "4", "--overwrite", "--out", out)
    assert done.status == 0, done.err
    results = json.loads((out / "results.json").read_text())
    assert list(results["methods"]) == ["mean"]
    assert results["protocol"]["train"] == ["A"]
    assert (len(results["protocol"]["genes"]), results["protocol"]["seed"]) == (4, 3)
    assert results["protocol"]["min_counts"] == 50
    assert not (out / "model").exists()
    assert not (out / "fields").exists()


def test_several_manifests_are_one_data_set(data, run, tmp_path):
    other = shutil.copytree(data, tmp_path / "other")
    text = (other / "samples.toml").read_text()
    (other / "samples.toml").write_text(text.replace('id = "', 'id = "X'))
    arguments = ("--samples", "XA,B", "--hold-out", "B", "--methods", "mean", "--genes", "4", "--min-counts", "50")
    manifests = (data / "samples.toml", other / "samples.toml")
    done = run("evaluate", *manifests, *arguments, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    protocol = json.loads((tmp_path / "out" / "results.json").read_text())["protocol"]
    assert (protocol["train"], protocol["test"]) == (["XA"], ["B"])
    assert protocol["manifests"] == [str(path) for path in manifests]
    done = run("evaluate", data / "samples.toml", data / "samples.toml", *arguments, "--out", tmp_path / "twice")
    done.assert_refused("'A' is also in")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--hold-out", "C", "--methods", "pixnet,magic"], "'magic' is not known; choose from pixnet, ridge, mean"),
        (["--hold-out", "Z"], "--hold-out: sample 'Z' does not exist; choose from A, B, C"),
        (["--hold-out", "C", "--samples", "A,B"], "--hold-out: sample 'C' does not exist; choose from A, B"),
        (["--hold-out", "C", "--samples", "A,C,Q"], "--samples: sample 'Q' does not exist; choose from A, B, C"),
        (["--hold-out", "A,B,C"], "all of A, B, C are held out, so none is left to train on"),
        (["--hold-out", "C", "--samples", "C"], "all of C are held out, so none is left to train on"),
        (["--hold-out", ","], "names nothing"),
        (["--hold-out", "C", "--genes", "5000"], "give a number from 1 to"),
        (["--hold-out", "C", "--genes", "4", "--min-counts", "1000000"], "Lower --min-counts"),
    ],
)
def test_what_cannot_be_evaluated(data, run, tmp_path, arguments, words):
    done = run("evaluate", data / "samples.toml", *arguments, "--out", tmp_path / "out")
    done.assert_refused(words)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_things_is_left_alone(data, run, tmp_path):
    (tmp_path / "model").mkdir()
    arguments = ("--hold-out", "C", "--methods", "mean", "--genes", "4", "--out", tmp_path)
    run("evaluate", data / "samples.toml", *arguments).assert_refused("holds 'model' but no results.json")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# Protocols


FEW = ("--methods", "mean", "--genes", "4", "--min-counts", "50")


def results(out):
    return json.loads((out / "results.json").read_text())


def test_a_frozen_protocol_is_repeated_exactly(data, run, tmp_path):
    frozen = tmp_path / "frozen" / "protocol.json"
    arguments = ("--split", "lodo", "--seeds", "2,5", "--methods", "mean", "--genes", "4", "--min-counts", "50")
    done = run("evaluate", data / "samples.toml", *arguments, "--write-protocol", frozen)
    assert done.status == 0, done.err
    assert done.out.splitlines() == [f"Protocol: {frozen}"]
    assert [path.name for path in tmp_path.iterdir()] == ["frozen"]

    direct = run("evaluate", data / "samples.toml", *arguments, "--out", tmp_path / "direct")
    repeated = run("evaluate", "--protocol", frozen, "--out", tmp_path / "repeated")
    assert direct.status == repeated.status == 0, repeated.err
    assert direct.out.splitlines()[:1] == repeated.out.splitlines()[:1]
    for name in ("per_gene.csv", "predictions.h5ad"):
        assert (tmp_path / "direct" / name).is_file()
    first, second = results(tmp_path / "direct"), results(tmp_path / "repeated")
    for content in (first, second):
        assert content["protocol"].pop("runs")
        content["protocol"].pop("manifests")
        for scores in content["methods"].values():
            assert scores.pop("seconds") == scores.pop("seconds_cold") > 0
            assert scores.pop("peak_rss_mb") > 0
    assert first == second
    assert first["protocol"]["seeds"] == [2, 5]
    assert [fold["test"] for fold in first["protocol"]["folds"]] == [["A"], ["B", "C"]]
    done = run("evaluate", data / "samples.toml", *arguments, "--write-protocol", frozen)
    done.assert_refused(str(frozen), "exists already")


def test_the_runs_of_several_folds_are_stored_and_reported(data, run, tmp_path):
    arguments = ("evaluate", data / "samples.toml", "--split", "loso", *FEW, "--out", tmp_path / "out")
    done = run(*arguments)
    assert done.status == 0, done.err
    assert "runs 3/3" in done.err
    assert (tmp_path / "out" / "scores.csv").is_file()
    assert len(list((tmp_path / "out" / "runs" / "mean").iterdir())) == 3
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("run.json")}
    assert len(stored) == 3
    again = run(*arguments, "--overwrite")
    assert again.status == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("run.json")} == stored
    assert "3 folds (A, B, C), 1 seed; mean over both" in again.out


@pytest.mark.parametrize("option", ["--runs", "--cells"])
def test_runs_are_stored_where_the_option_says(data, run, tmp_path, option):
    arguments = ("--hold-out", "C", *FEW, option, tmp_path / "runs", "--out", tmp_path / "out")
    done = run("evaluate", data / "samples.toml", *arguments)
    assert done.status == 0, done.err
    assert len(list((tmp_path / "runs" / "mean").iterdir())) == 1


def test_a_protocol_whose_inputs_changed_names_hash_and_sample(copied, run, tmp_path):
    frozen = tmp_path / "p.json"
    done = run("evaluate", copied / "samples.toml", "--hold-out", "C", *FEW, "--write-protocol", frozen)
    assert done.status == 0, done.err
    slide = copied / "B.png"
    slide.write_bytes((copied / "A.png").read_bytes())
    out = tmp_path / "out"
    run("evaluate", "--protocol", frozen, "--out", out).assert_refused("slide of 'B' (slide_sha256", "freeze a new")
    assert not out.exists()
    text = (copied / "samples.toml").read_text()
    (copied / "samples.toml").write_text(text.replace('id = "B"', 'id = "Q"'))
    run("evaluate", "--protocol", frozen, "--out", out).assert_refused(str(frozen), "needs the sample 'B'", "A, Q, C")
    frozen.write_text(frozen.read_text()[:300])
    run("evaluate", "--protocol", frozen, "--out", out).assert_refused(str(frozen), "is not a protocol of pixnet")


def test_imported_predictions_are_in_the_table(data, run, tmp_path):
    first = run("evaluate", data / "samples.toml", "--hold-out", "C", *FEW, "--out", tmp_path / "out")
    assert first.status == 0, first.err
    table = anndata.read_h5ad(tmp_path / "out" / "predictions.h5ad")
    theirs = anndata.AnnData(table.layers["mean"], obs=table.obs[["sample"]], var=table.var[[]])
    theirs.write_h5ad(tmp_path / "theirs.h5ad")
    arguments = ("evaluate", data / "samples.toml", "--hold-out", "C", *FEW, "--out", tmp_path / "both")
    text = f"theirs={tmp_path / 'theirs.h5ad'}"
    done = run(*arguments, "--import", text)
    assert done.status == 0, done.err
    methods = results(tmp_path / "both")["methods"]
    assert list(methods) == ["mean", "theirs"]
    assert methods["theirs"]["mse"] == pytest.approx(methods["mean"]["mse"])
    assert [line.split()[0] for line in done.out.splitlines()[1:3]] == ["mean", "theirs"]
    twice = run(*arguments, "--overwrite", "--import", text, "--import", text)
    twice.assert_refused("--import 'theirs'", "twice")
    short = theirs[:, 1:].copy()
    short.write_h5ad(tmp_path / "theirs.h5ad")
    run(*arguments, "--overwrite", "--import", text).assert_refused("imported as theirs", "lacks 1 of 4 genes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["M", "--out", "O"], ["--hold-out", "--split"]),
        (["M", "--hold-out", "A", "--split", "loso", "--out", "O"], ["either --hold-out", "or --split"]),
        (["--hold-out", "A", "--out", "O"], ["no manifest is given"]),
        (["M", "--hold-out", "A"], ["no --out is given"]),
        (["M", "--protocol", "P", "--seeds", "1", "--genes", "3", "--out", "O"],
         ["MANIFEST, --genes, --seeds with --protocol P"]),
        (["--protocol", "P", "--out", "O"], ["P: cannot be read"]),
        (["--protocol", "P", "--write-protocol", "Q"], ["--write-protocol with --protocol"]),
        (["M", "--hold-out", "A", "--write-protocol", "Q", "--runs", "C"], ["--runs with --write-protocol"]),
        (["M", "--split", "kfold:4", "--out", "O", "--genes", "4"], ["--split kfold:4", "do not make 4 folds"]),
        (["M", "--split", "fifths", "--out", "O"], ["--split fifths is not known"]),
        (["M", "--split", "loso", "--seeds", "1,x", "--out", "O"], ["--seeds '1,x'", "whole numbers"]),
        (["M", "--hold-out", "C", "--import", "theirs", "--methods", "mean", "--genes", "4", "--out", "O"],
         ["--import 'theirs': give NAME=FILE.h5ad"]),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other(data, run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    given = [data / "samples.toml" if argument == "M" else argument for argument in arguments]
    run("evaluate", *given).assert_refused(*words)
    assert not list(tmp_path.iterdir())
