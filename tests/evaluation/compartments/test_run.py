"""The compartment test in an evaluation: what it writes, and that it costs no second training of PixNet."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from tests.evaluation.made import SHORT_TRAINING, SMALLEST_NETWORK, make_sample

from pixnet.config import Config
from pixnet.errors import DataError
from pixnet.evaluation.compartments.correlations import within
from pixnet.evaluation.compartments.pixels import pixels_inside
from pixnet.evaluation.compartments.run import mapping_methods
from pixnet.evaluation.methods import log_shares
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.report import write_report
from pixnet.evaluation.runner import run
from pixnet.evaluation.splits import hold_out, make_folds
from pixnet.field import ExpressionField
from pixnet.model import PixNet

GENES = ["EPCAM", "COL1A1", "CD74", *(f"G{number}" for number in range(5))]
CONFIG = Config.from_dict(
    {
        "network": SMALLEST_NETWORK,
        "training": {**SHORT_TRAINING, "steps": 2, "validation": "none", "min_counts": 50},
        "genes": {"number": 5, "names": GENES[:5]},
    }
)


@pytest.fixture(scope="module")
def samples():
    return [make_sample(name, donor, genes=GENES) for name, donor in (("A", "p"), ("B", "q"))]


@pytest.fixture(scope="module")
def evaluated(samples, tmp_path_factory):
    out = tmp_path_factory.mktemp("compartments") / "out"
    protocol = Protocol.freeze(samples, hold_out(samples, ["B"]), ["pixnet", "mean"], CONFIG)
    return out, run(protocol, samples, out, compartments=True)


def test_the_correlations_are_those_of_the_field(evaluated, samples):
    out, _ = evaluated
    table = pd.read_csv(out / "compartments.csv")
    assert set(table["sample"]) == {"B"}
    assert table["gene"].tolist() == 2 * GENES[:5]
    pixels = pixels_inside(samples[1], samples[1].depth >= 50)
    maps = log_shares(ExpressionField.open(out / "fields" / "B"), pixels.squares)
    r = within(maps, pixels.stains, pixels.region)
    np.testing.assert_allclose(table["within pixnet"], r.T.ravel(), atol=1e-5)


def test_results_and_report_hold_the_test(evaluated, samples):
    out, outcome = evaluated
    results = json.loads((out / "results.json").read_text())
    found = results["compartments"]
    assert list(found) == ["pixnet"]  # the mean predicts no map
    assert set(found["pixnet"]) == {
        f"{group}, {stain}" for group in ("markers", "all genes") for stain in ("nuclear density", "eosin")
    }
    clear = int(outcome.compartments["clear"].sum())
    assert sum(found["pixnet"][f"all genes, {stain}"]["genes"] for stain in ("nuclear density", "eosin")) == clear
    page = write_report(out, samples).read_text(encoding="utf-8")
    assert "Inside the regions" in page
    assert "Markers of compartments and eosin" in page


def test_an_evaluation_without_the_test_says_nothing_of_it(samples, tmp_path):
    protocol = Protocol.freeze(samples, hold_out(samples, ["B"]), ["mean"], CONFIG)
    outcome = run(protocol, samples, tmp_path / "out")
    assert "compartments" not in outcome.results
    assert not (tmp_path / "out" / "compartments.csv").exists()
    assert "Inside the regions" not in write_report(tmp_path / "out").read_text(encoding="utf-8")


def test_the_models_of_stored_runs_are_used_again(samples, tmp_path, monkeypatch):
    protocol = Protocol.freeze(samples, make_folds(samples, "loso"), ["pixnet"], CONFIG)
    run(protocol, samples, tmp_path / "plain", runs=tmp_path / "runs")
    monkeypatch.setattr(PixNet, "fit", None)
    first = run(protocol, samples, tmp_path / "out", runs=tmp_path / "runs", compartments=True)
    monkeypatch.setattr(PixNet, "predict", None)
    again = run(protocol, samples, tmp_path / "again", runs=tmp_path / "runs", compartments=True)
    pd.testing.assert_frame_equal(first.compartments, again.compartments)
    assert first.compartments[["fold", "sample"]].drop_duplicates().to_numpy().tolist() == [["A", "A"], ["B", "B"]]


def test_a_method_with_maps_is_needed(samples, tmp_path):
    assert mapping_methods(["ridge", "istar", "pixnet"]) == ["istar", "pixnet"]
    protocol = Protocol.freeze(samples, hold_out(samples, ["B"]), ["mean", "ridge"], CONFIG)
    with pytest.raises(DataError, match="needs a method that predicts maps, pixnet or istar; the methods are mean, r"):
        run(protocol, samples, tmp_path / "out", compartments=True)
    assert not (tmp_path / "out").exists()
