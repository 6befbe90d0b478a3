from __future__ import annotations

import json
from pathlib import Path

import pytest

from pixnet.demo import demo
from pixnet.demo.demo import DemoSize, run_demo
from pixnet.errors import DataError
from pixnet.field import ExpressionField
from pixnet.readers.manifest import read_manifest
from pixnet.virtual import TEST_SEEDS


def test_the_demo_writes_data_evaluation_truth_and_report(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    size = DemoSize(side_um=320.0, training_slides=1, genes=8, steps=3, tiles=2, views=1, bins=40, min_counts=50)
    report = run_demo(tmp_path, lambda stage, done, total, words="": calls.append((stage, done, total)), size)
    assert report == tmp_path / "evaluation" / "report.html"
    html = report.read_text(encoding="utf-8")
    assert "Against the noise-free truth" in html
    assert "2-µm square" in html

    samples = read_manifest(tmp_path / "data" / "samples.toml")
    assert [sample.id for sample in samples] == ["virtual-1", demo.TEST_ID]
    assert samples[0].donor != samples[1].donor
    field = ExpressionField.open(tmp_path / "evaluation" / "fields" / demo.TEST_ID)
    assert len(field.gene_names) == 8

    truth = json.loads((tmp_path / "truth.json").read_text())
    assert (truth["places"], truth["genes"]) == (40, 8)
    assert (truth["slide_seed"], truth["donor_seed"]) == TEST_SEEDS["breast"][0]
    names = ["2-µm square", "8-µm square", "16-µm square", "55-µm disk", "100-µm disk", "whole cell"]
    assert [size["regions"] for size in truth["sizes"]] == names
    for entry in truth["sizes"]:
        for kind in ("counts", "log"):
            assert set(entry[kind]) == {"pixnet", "ridge", "ceiling"}
            assert all(-1 <= value <= 1 for value in entry[kind].values())
    assert {"tissue", "runs", "truth"} <= {stage for stage, _, _ in calls}
    assert all(done <= total for _, done, total in calls)


def test_the_demo_refuses_presets_and_numbers_of_slides_it_does_not_have(tmp_path: Path) -> None:
    for size in (DemoSize(preset="liver"), DemoSize(training_slides=9)):
        with pytest.raises(DataError, match="choose one of breast, colon, cortex and 1 to 4 slides"):
            run_demo(tmp_path, lambda *_: None, size)
