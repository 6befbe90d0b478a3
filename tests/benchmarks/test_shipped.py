"""The results in the repository are complete, small and consistent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.accuracy.her2st import PREDICTIONS, PROTOCOL, main
from benchmarks.accuracy.merging import MergedPlan
from benchmarks.accuracy.mob import PROTOCOL as MOB
from benchmarks.accuracy.protocol_plan import ProtocolPlan, predictions_entry
from benchmarks.accuracy.results import FOLDER, Results
from benchmarks.accuracy.scales_plan import ScalesPlan
from tests.benchmarks.small import freeze

from pixnet.config import Config
from pixnet.demo.regions import ScaleSettings
from pixnet.evaluation.methods import METHODS, Options
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runs import RunStore
from pixnet.scoring.metrics import score


@pytest.fixture(scope="module")
def results() -> Results:
    return Results()


@pytest.fixture
def plan(tmp_path: Path) -> ProtocolPlan:
    protocol = {"": Protocol.read(PROTOCOL)}
    return ProtocolPlan("her2st", protocol, RunStore(tmp_path), Options("cpu"), FOLDER / PREDICTIONS)


def test_every_run_on_her2st_is_there(results: Results, plan: ProtocolPlan) -> None:
    missing = [run.title for _, run in (*results.missing(plan), *results.missing(MergedPlan(plan)))]
    assert not missing, f"settings or a METHOD_VERSION changed: run `make benchmark-her2st`, which computes {missing}"
    assert {run.method for _, run in plan.runs} == set(METHODS)


def test_every_run_on_the_mouse_bulb_is_there(results: Results, tmp_path: Path) -> None:
    plan = ProtocolPlan("mob", {"": Protocol.read(MOB)}, RunStore(tmp_path), Options("cpu"))
    missing = [run.title for _, run in results.missing(plan)]
    assert not missing, f"settings or a METHOD_VERSION changed: run `make benchmark-mob`, which computes {missing}"
    assert {run.method for _, run in plan.runs} == set(METHODS) - {"istar"}


@pytest.mark.parametrize("size", [100.0, 55.0])
@pytest.mark.parametrize("preset", ["breast", "colon", "cortex"])
def test_every_run_on_virtual_tissue_is_there(results: Results, preset: str, size: float, tmp_path: Path) -> None:
    settings = ScaleSettings(preset, (size,))
    plan = ScalesPlan(settings, {"": Config()}, METHODS, [0], RunStore(tmp_path), Options("cpu"))
    missing = [run.title for _, run in results.missing(plan)]
    assert not missing, f"settings or a METHOD_VERSION changed: run `make benchmark-virtual`, which computes {missing}"


def test_no_row_is_of_an_older_run(results: Results) -> None:
    assert set(results.runs["key"]) == set(results.scores["key"])
    assert not results.runs["key"].duplicated().any()


def test_the_files_are_small() -> None:
    assert sum((FOLDER / f"{name}.parquet").stat().st_size for name in ("runs", "scores")) < 1.5e6
    assert (FOLDER / PREDICTIONS).stat().st_size < 6e6


def test_predictions_are_of_every_run(plan: ProtocolPlan) -> None:
    with np.load(FOLDER / PREDICTIONS) as stored:
        assert set(stored.files) == {predictions_entry(run) for _, run in plan.runs}


def test_scores_are_those_of_the_predictions(results: Results, plan: ProtocolPlan, shared: Path) -> None:
    assert (shared / "data" / "her2st").is_dir()
    fold = plan.protocols[""].folds[1]
    held, scores = plan.held[1], results.of(plan)
    for method in METHODS:
        run = next(run for _, run in plan.runs if (run.method, run.fold, run.seed) == (method, fold.name, 0))
        predicted = np.concatenate([plan.values(run)[sample.id] for sample in held.samples])
        found = score(held.observed[held.enough], predicted[held.enough])
        for metric in ("pcc_m", "mse"):
            stored = scores.value(method, metric, fold=fold.name, seed=0)
            assert found[metric] == pytest.approx(stored, abs=5e-4), (method, metric)  # type: ignore[literal-required]
    assert not list(plan.store.folder.iterdir())  # nothing was computed


def test_her2st_is_skipped_only_where_something_is_missing_and_its_data_too(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = freeze(manifest, ("mean",)).model_copy(update={"manifests": (str(tmp_path / "absent.toml"),)})
    path = protocol.write(tmp_path / "protocol.json")
    words = ["--protocol", path, "--results", tmp_path / "results", "--runs", tmp_path / "runs", "--out", tmp_path]
    monkeypatch.setattr("sys.argv", ["her2st", *map(str, words)])
    main()
    expected = (
        f"skipped: {tmp_path / 'results'} lacks 4 runs, and {tmp_path / 'absent.toml'}, which they need, does not"
    )
    assert expected in capsys.readouterr().out
    assert not (tmp_path / "accuracy.md").exists()
