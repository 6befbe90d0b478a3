"""Variants of the configuration, and their comparison with the default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.accuracy.variants import DEFAULT, read_variants, run_variants, variants_table
from pixnet.evaluation.folds import make_folds
from tests.evaluation.made import make_sample

from pixnet.config import Config
from pixnet.errors import DataError, ModelError

SHIPPED = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "ablations.toml"
BASE = Config.of(
    {
        "genes": {"number": 4},
        "network": {
            "mpp": 2.0,
            "surroundings_um": [],
            "encoder": {"name": "test_resnet", "weights": "random"},
            "decoder": {"channels": [4, 4, 4, 4]},
        },
        "training": {"steps": 3, "tiles": 2, "views": 1, "validation": "none", "min_counts": 50, "tile_um": 64.0},
    }
)


def test_shipped_variants_change_what_they_name_and_nothing_that_is_scored() -> None:
    base = Config()
    variants = read_variants(SHIPPED, base)
    groups = {name.partition("-")[0] for name in variants}
    named = ("fusion", "attention", "dsub", "loss", "head", "encoder", "pitch", "surroundings", "skips", "denoise")
    assert groups >= set(named)
    assert {config.network.decoder.fusion for config in variants.values()} == {"safb", "plain", "residual", "vit"}
    assert variants["pitch-8"].network.pitch_um == 8.0
    assert variants["loss-pcc"].training.loss_weight == 0.0
    assert variants["depth-0"].training.depth_weight == 0.0
    for name, config in variants.items():
        assert len(config.network.decoder.channels) == len(config.network.encoder.strides), name
        assert config.genes == base.genes


def test_a_variant_is_a_change_of_the_base_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "variants.toml"
    path.write_text('[plain]\nnetwork.decoder.fusion = "plain"\n[long]\ntraining.steps = 9\n')
    variants = read_variants(path, BASE, ["long"])
    assert list(variants) == ["long"]
    assert variants["long"].training.steps == 9
    assert variants["long"].network == BASE.network


@pytest.mark.parametrize(
    ("text", "only", "error", "told"),
    [
        ("[a]\ntraining.steps = 9", ["b"], DataError, "no variant 'b'; there are a"),
        ("[a]\ntraining.step = 9", None, ModelError, "did you mean 'steps'"),
        ("[a]\ngenes.number = 9", None, ModelError, "changes what is scored"),
        ("[a]\ntraining.min_counts = 9", None, ModelError, "changes what is scored"),
        ("[default]\ntraining.steps = 9", None, DataError, "no variant 'default'"),
        ("[a", None, DataError, "no valid TOML"),
    ],
)
def test_what_is_no_variant_is_refused(
    tmp_path: Path, text: str, only: list[str] | None, error: type[Exception], told: str
) -> None:
    path = tmp_path / "variants.toml"
    path.write_text(text)
    with pytest.raises(error, match=told):
        read_variants(path, BASE, only)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ablations")
    file = folder / "variants.toml"
    file.write_text('[plain]\nnetwork.decoder.fusion = "plain"\n[same]\ntraining.steps = 3\n')
    samples = [make_sample(name, donor=name) for name in "AB"]
    variants = read_variants(file, BASE)
    out = folder / "out"
    return out, run_variants(samples, make_folds(samples, "loso"), BASE, variants, [0], folder / "cells", out)


def test_variants_are_compared_with_the_default(found: tuple[Path, dict[str, Any]]) -> None:
    out, results = found
    rows = results["variants"]
    assert list(rows) == [DEFAULT, "plain", "same"]
    assert "against_default" not in rows[DEFAULT]
    assert rows["plain"]["changes"] == {"network.decoder.fusion": "plain"}
    test = rows["plain"]["against_default"]
    assert test["difference"] == pytest.approx(rows["plain"]["pcc_m"] - rows[DEFAULT]["pcc_m"])
    assert test["folds"] == 2
    low, high = test["interval"]
    assert low < high
    assert rows["same"]["changes"] == {}
    assert rows["same"]["against_default"]["difference"] == 0.0
    assert json.loads((out / "ablations.json").read_text())["variants"]["plain"]["pcc_m"] == rows["plain"]["pcc_m"]
    assert (out / "ablations.md").read_text(encoding="utf-8") == variants_table(results)
    assert "| plain | network.decoder.fusion = plain |" in variants_table(results)


def test_a_variant_that_equals_the_default_is_not_trained_again(found: tuple[Path, dict[str, Any]]) -> None:
    cells = list((found[0].parent / "cells" / "pixnet").iterdir())
    assert len(cells) == 2 * 2
