from __future__ import annotations

import json
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest

from pixnet.config import Config, GenesConfig
from pixnet.counts import Counts
from pixnet.errors import DataError, PixNetWarning
from pixnet.evaluation.protocol import Split, common_panel, evaluate, log_values
from pixnet.evaluation.results import HeldOut, Prediction, replacing, summarise
from pixnet.expression import log_expectation
from pixnet.field import LinearHead, build_field
from pixnet.grid import Lattice
from pixnet.panel import GenePanel
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.slide import Slide

GENES = [f"G{number}" for number in range(12)]


def make_sample(name, donor=None, seed=0, genes=GENES, depth=300, regions=20):
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    slide = Slide.from_array(rng.integers(0, 255, (200, 240, 3), dtype=np.uint8), 1.0, name=name)
    means = depth * np.linspace(2, 1, len(genes)) / len(genes)
    table = anndata.AnnData(
        rng.poisson(means * rng.gamma(4, 0.25, (regions, len(genes)))).astype(np.float32),
        obs=pd.DataFrame(index=[f"r{number}" for number in range(regions)]),
        var=pd.DataFrame(index=list(genes)),
    )
    return Sample(name, slide, Disks(rng.uniform(30, 170, (regions, 2)), 40.0), table, donor)


def with_counts(sample, change):
    values = sample.counts.matrix.toarray()
    change(values)
    return Sample(sample.id, sample.slide, sample.regions, Counts(values, sample.genes), sample.donor)


def config(number=4, min_counts=50):
    return Config.of({"genes": {"number": number}, "training": {"min_counts": min_counts}})


# Splits


def test_a_split_sets_samples_apart():
    samples = [make_sample(name) for name in "ABC"]
    split = Split.of(samples, ["C", "A", "C"])
    assert [sample.id for sample in split.train] == ["B"]
    assert [sample.id for sample in split.test] == ["C", "A"]


@pytest.mark.parametrize(
    ("hold_out", "words"),
    [(["D"], "no sample 'D'"), ([], "nothing to score on"), (["A", "B"], "none is left to train on")],
)
def test_a_split_without_two_sides_is_refused(hold_out, words):
    with pytest.raises(DataError, match=words):
        Split.of([make_sample("A"), make_sample("B")], hold_out)


def test_ids_must_differ():
    with pytest.raises(DataError, match="same id"):
        Split.of([make_sample("A"), make_sample("A"), make_sample("B")], ["B"])


def test_donors_on_both_sides_are_found():
    samples = [make_sample("A", "p"), make_sample("B", "q"), make_sample("C", "q"), make_sample("D"), make_sample("E")]
    assert Split.of(samples, ["C"]).shared_donors == ["q"]
    assert Split.of(samples, ["A", "E"]).shared_donors == []


# Panels


def test_the_panel_does_not_depend_on_what_was_counted_in_the_held_out_sample():
    train, test = [make_sample("A"), make_sample("B")], make_sample("C")

    def shuffle(values):
        values[:] = values[:, ::-1] * 7

    panels = [
        common_panel(Split(train, [held]), GenesConfig(number=5, rule=rule), 50)
        for rule in ("top-mean", "highly-variable")
        for held in (test, with_counts(test, shuffle))
    ]
    assert panels[0] == panels[1]
    assert panels[2] == panels[3]
    assert panels[0].rule == "top-mean"


def test_the_panel_holds_what_all_samples_were_measured_for():
    train = [make_sample("A"), make_sample("B")]
    everything = common_panel(Split(train, [make_sample("C")]), GenesConfig(number=6), 50)
    without = [gene for gene in GENES if gene not in everything.names[1:3]]
    panel = common_panel(Split(train, [make_sample("C", genes=without)]), GenesConfig(number=6), 50)
    # The order of the others stays, and the next ones take the places.
    assert panel.names[:4] == tuple(gene for gene in everything.names if gene in without)
    assert len(panel.names) == 6
    assert set(panel.names) <= set(without)


def test_too_few_common_genes_are_refused():
    split = Split([make_sample("A")], [make_sample("B", genes=GENES[:5])])
    with pytest.raises(DataError, match="fewer than the 6 genes"):
        common_panel(split, GenesConfig(number=6), 50)
    with pytest.raises(DataError, match="from 1 to 12"):
        common_panel(split, GenesConfig(number=13), 50)


def test_named_genes_must_be_measured():
    split = Split([make_sample("A")], [make_sample("B", genes=GENES[:5])])
    assert common_panel(split, GenesConfig(names=("G3", "G1")), 50) == GenePanel(("G3", "G1"), "list")
    with pytest.raises(DataError, match="'G7' was not measured in all held-out samples"):
        common_panel(split, GenesConfig(names=("G3", "G7")), 50)


# Scores


def truth(min_counts=50):
    return HeldOut([make_sample("A"), make_sample("B")], GenePanel(("G0", "G5", "G2"), "list"), min_counts)


def test_a_perfect_prediction_scores_one():
    held = truth()
    results = summarise(held, {"it": Prediction(held.observed, 1.0, 2.0)}, {"k": "v"}, 0).results
    scores = results["methods"]["it"]
    assert scores["pcc_m"] == pytest.approx(1.0)
    assert scores["mse"] == 0.0
    assert (scores["n_regions"], scores["n_genes"], scores["seconds"], scores["peak_rss_mb"]) == (40, 3, 1.0, 2.0)
    assert scores["noise_share"] == pytest.approx(1 / results["noise_estimate"]["pcc_m"])
    assert scores["per_sample"].keys() == {"A", "B"}
    assert scores["per_sample"]["A"]["n_regions"] == 20
    assert results["protocol"]["k"] == "v"
    assert results["excluded_regions"] == 0


def test_regions_of_few_counts_are_left_out_for_every_method_alike():
    depth = truth().total
    limit = int(np.median(depth))
    held = truth(limit)
    rng = np.random.default_rng(0)
    noisy = (held.observed + rng.normal(0, 1, held.observed.shape)).astype(np.float32)
    right_where_few = np.where((depth < limit)[:, None], held.observed, noisy)
    predictions = {name: Prediction(values, 0.0, 0.0) for name, values in (("a", noisy), ("b", right_where_few))}
    results = summarise(held, predictions, {}, 0).results
    assert results["excluded_regions"] == int((depth < limit).sum())
    a, b = results["methods"]["a"], results["methods"]["b"]
    assert a["mse"] == b["mse"]
    assert b["unfiltered"]["mse"] < a["unfiltered"]["mse"]
    assert a["unfiltered"]["n_regions"] == 40


def test_regions_without_a_prediction_are_left_out_for_every_method_alike():
    held = truth()
    partial = held.observed.copy()
    partial[3] = np.nan
    predictions = {name: Prediction(values, 0.0, 0.0) for name, values in (("a", partial), ("b", held.observed))}
    results = summarise(held, predictions, {}, 0).results
    assert results["excluded_regions"] == results["protocol"]["regions_without_prediction"] == 1
    assert {scores["n_regions"] for scores in results["methods"].values()} == {39}


def test_what_is_written_can_be_read(tmp_path):
    held = truth()
    flat = np.zeros_like(held.observed)
    outcome = summarise(held, {"flat": Prediction(flat, 0.0, 0.0)}, {"x": float("nan")}, 0)
    outcome.write(tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["methods"]["flat"]["pcc_m"] == 0.0
    table = anndata.read_h5ad(tmp_path / "predictions.h5ad")
    np.testing.assert_array_equal(table.X, held.observed)
    assert list(table.obs["sample"].unique()) == ["A", "B"]
    np.testing.assert_allclose(table.obs["size_um"], 40.0)
    np.testing.assert_array_equal(table.obs[["x_um", "y_um"]][:20], held.samples[0].regions.centers_um)
    genes = pd.read_csv(tmp_path / "per_gene.csv", index_col=0)
    assert list(genes.index) == ["G0", "G5", "G2"]
    assert list(genes.columns) == ["mean_counts", "noise_estimate", "pcc_flat"]


# Predictions of a field, in log space


@pytest.fixture
def make_field(tmp_path):
    slide = Slide.from_array(np.full((96, 96, 3), 200, np.uint8), 1.0)

    def make(kind):
        genes = ("G0", "G1", "other") if kind == "rate" else ("G0", "G1")
        weight = np.linspace(0.001, 0.02, 2 * len(genes)).reshape(2, -1)
        head = LinearHead(kind, genes, weight, np.full(len(genes), 0.001), "x")

        def latent(rgb):
            rows, cols = ((side - 32) // 4 for side in rgb.shape[:2])
            return np.random.default_rng(0).uniform(0.5, 1, (2, rows, cols)).astype(np.float32)

        lattice = Lattice(96.0, 96.0, 1.0, 16, 16)
        out = tmp_path / f"{kind}.field"
        return build_field(slide, lattice, 4, latent, head, out, card={}, tissue_mask=False)

    return make


REGIONS = Disks(np.array([[30.0, 40.0], [60.0, 50.0], [70.0, 20.0]]), 25.0)


def test_squared_error_is_not_corrected_twice(make_field):
    field = make_field("rate")
    np.testing.assert_array_equal(log_values(field, REGIONS, likelihood=False), field.query(REGIONS).layers["log1p"])


def test_a_likelihood_gives_the_expected_logarithm_at_the_predicted_total(make_field):
    field = make_field("rate")
    counts = np.asarray(field.query(REGIONS, ["G0", "G1", "other"]).X, float)
    expected = log_expectation(counts[:, :2] / counts.sum(axis=1, keepdims=True), counts.sum(axis=1))
    values = log_values(field, REGIONS, likelihood=True)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert (values < log_values(field, REGIONS, likelihood=False)).all()


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_other_heads_predict_what_they_were_trained_on(make_field, kind):
    field = make_field(kind)
    np.testing.assert_array_equal(log_values(field, REGIONS, likelihood=False), field.query(REGIONS).X)


@pytest.mark.filterwarnings("ignore:1 of 2 regions lie outside")
@pytest.mark.parametrize("likelihood", [False, True])
def test_no_data_is_no_prediction(make_field, likelihood):
    regions = Disks(np.array([[30.0, 40.0], [900.0, 900.0]]), 25.0)
    values = log_values(make_field("rate"), regions, likelihood)
    assert np.isfinite(values[0]).all()
    assert np.isnan(values[1]).all()


# The whole


def test_a_donor_on_both_sides_is_warned_of(tmp_path):
    samples = [make_sample("A", "p"), make_sample("B", "p")]
    with pytest.warns(PixNetWarning, match="donor p is on both sides of the split .* nothing about new donors"):
        evaluate(samples, ["B"], tmp_path / "out", methods=["mean"], config=config())


def test_the_mean_of_the_training_samples_is_what_the_mean_predicts(tmp_path):
    samples = [make_sample("A", "p"), make_sample("B", "q"), make_sample("C", "r")]
    told = []
    outcome = evaluate(
        samples, ["C"], tmp_path / "out", methods=["mean", "mean"], config=config(),
        progress=lambda *now: told.append(now[:3]),
    )  # fmt: skip
    held = HeldOut(samples[:2], outcome.held.panel, 50)
    expected = held.observed[held.enough].mean(axis=0)
    np.testing.assert_allclose(outcome.predictions["mean"].values, np.tile(expected, (20, 1)), rtol=1e-5)
    assert told == [("mean", 0, 1), ("mean", 1, 1)]
    assert "no donor is on both sides" in outcome.results["protocol"]["donor_note"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"results.json", "per_gene.csv", "predictions.h5ad"}


def test_unknown_methods_are_refused(tmp_path):
    samples = [make_sample("A"), make_sample("B")]
    for methods, words in ((["mean", "magic"], "'magic' is not known"), ([], "no method is named")):
        with pytest.raises(DataError, match=words):
            evaluate(samples, ["B"], tmp_path / "out", methods=methods, config=config())
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_what_was_there(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("good")
    (out / "notes").write_text("mine")

    def fail():
        with replacing(out, overwrite=True) as folder:
            (folder / "results.json").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {path.name: path.read_text() for path in out.iterdir()} == {"results.json": "good", "notes": "mine"}
    with replacing(out, overwrite=True) as folder:
        (folder / "results.json").write_text("better")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"results.json": "better", "notes": "mine"}


COST = """
import time
import numpy as np
from pixnet.evaluation.cost import Cost
with Cost() as little:
    pass
with Cost() as much:
    held = np.ones(30_000_000)
    held += 1
    time.sleep(0.3)
    del held
print(little.peak_rss_mb, much.peak_rss_mb, much.seconds)
"""


def test_the_cost_sees_memory_that_is_gone_at_the_end():
    # A process of its own: in this one the array may fit into memory that earlier tests gave back to malloc alone.
    # Held for a while, because a child begins with its parent's highest mark and only the samples then tell.
    printed = subprocess.run([sys.executable, "-c", COST], check=True, capture_output=True, text=True).stdout  # noqa: S603
    little, much, seconds = map(float, printed.split())
    assert much > little + 150
    assert seconds > 0
