"""Variants of the settings, and their comparison with the default."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.accuracy.ablations import VARIANTS, differences, read_variants
from benchmarks.accuracy.pages import write_ablations_page
from benchmarks.accuracy.results import Results
from tests.benchmarks.small import CONFIG, SmallPlan, freeze

from pixnet.config import Config
from pixnet.errors import DataError, ModelError
from pixnet.evaluation.report.parts import number


def test_shipped_variants_change_what_they_name_and_nothing_that_is_scored() -> None:
    base = Config()
    variants = read_variants(VARIANTS, base)
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
    variants = read_variants(path, CONFIG, ["long"])
    assert list(variants) == ["long"]
    assert variants["long"].training.steps == 9
    assert variants["long"].network == CONFIG.network


@pytest.mark.parametrize(
    ("text", "only", "error", "message"),
    [
        ("[a]\ntraining.steps = 9", ["b"], DataError, "has no variant 'b'; it has a"),
        ("[a]\ntraining.step = 9", None, ModelError, "did you mean 'steps'"),
        ("[a]\ngenes.number = 9", None, ModelError, "changes what is scored"),
        ("[a]\ntraining.min_counts = 9", None, ModelError, "changes what is scored"),
        ("a = 1", None, DataError, "no variant 'a'"),
        ("[a", None, DataError, "is not valid TOML"),
    ],
)
def test_files_that_do_not_hold_variants_are_refused(
    tmp_path: Path, text: str, only: list[str] | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "variants.toml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_variants(path, CONFIG, only)


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.toml: the variants cannot be read \(no such file"):
        read_variants(tmp_path / "absent.toml", CONFIG)


def test_variants_are_compared_with_the_default(manifest: Path, tmp_path: Path) -> None:
    file = tmp_path / "variants.toml"
    file.write_text('[plain]\nnetwork.decoder.fusion = "plain"\n[same]\ntraining.steps = 3\n')
    configs = {"": CONFIG, **read_variants(file, CONFIG)}
    protocols = {name: freeze(manifest, ("pixnet",), config, [0]) for name, config in configs.items()}
    plan, results = SmallPlan(protocols, tmp_path / "runs"), Results(tmp_path / "results")
    scores = results.complete(plan)
    # A variant that has the default's settings is not trained again.
    assert plan.computed == [
        "pixnet, A, seed 0", "pixnet, B, seed 0", "plain pixnet, A, seed 0", "plain pixnet, B, seed 0", "summary"
    ]  # fmt: skip
    base = CONFIG.model_dump(mode="json")
    changes = {name: differences(base, config.model_dump(mode="json")) for name, config in configs.items()}
    assert changes == {"": {}, "plain": {"network.decoder.fusion": "plain"}, "same": {}}
    difference = scores.value("pixnet", "difference vs pixnet:plain")
    means = scores.value("pixnet", "pcc_m"), scores.value("pixnet", "pcc_m", variant="plain")
    assert difference == pytest.approx(means[0] - means[1])
    low, high = scores.interval("pixnet", "difference vs pixnet:plain")
    assert low < high
    assert scores.value("pixnet", "difference vs pixnet:same") == 0.0
    path = write_ablations_page(tmp_path / "pages", changes, results.facts(plan), scores, "make it")
    text = path.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| plain | network.decoder.fusion = plain |"))
    assert f"| {number(means[1])} (" in row
    assert f"| {number(difference)} | {number(low)} to {number(high)} |" in row
    assert "| default | none |" in text
