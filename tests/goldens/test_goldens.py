"""No number, public name or option changes unnoticed.

Numbers are compared bit for bit on the kind of processor they were computed on, and within a tolerance on another.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.goldens import recipe
from tests.goldens.kept import (
    HERE,
    OLD,
    differences,
    kept,
    moved_methods,
    processor,
    versions,
    without_a_new_version,
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipe.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def same_processor() -> bool:
    return processor() == kept()["processor"]


def test_every_method_predicts_and_scores_as_before(manifest: Path, tmp_path: Path, same_processor: bool) -> None:
    found = recipe.summarised(recipe.evaluated(manifest, tmp_path))
    moved = differences(kept()["evaluate"], found, same_processor)
    advice = [
        f"the numbers of {method} moved: if on purpose, raise its METHOD_VERSION and run "
        "python -m tests.goldens --write"
        for method in moved_methods(kept()["evaluate"], found, same_processor)
    ]
    assert not moved, "\n".join([*advice, *moved])


def test_the_goldens_are_of_these_versions_of_the_methods() -> None:
    for method, version in versions().items():
        assert version == kept()["versions"].get(method), (
            f"METHOD_VERSION of {method} is {version}; the goldens are of {kept()['versions'].get(method)}: run "
            "python -m tests.goldens --write"
        )


def test_numbers_that_move_need_a_new_version() -> None:
    key = "knn predictions"
    changed = {**kept()["evaluate"][key], "sha256": "0" * 64, "values": [0.0] * 24}
    moved = {**kept(), "evaluate": {**kept()["evaluate"], key: changed}}
    assert moved_methods(kept()["evaluate"], kept()["evaluate"], True) == []
    assert without_a_new_version(kept(), kept()) == []
    assert without_a_new_version(kept(), moved) == ["knn"]
    assert without_a_new_version(kept(), {**moved, "processor": "another"}) == ["knn"]
    assert without_a_new_version(kept(), {**moved, "versions": {**kept()["versions"], "knn": 0}}) == []
    scores = {**kept()["evaluate"]["knn scores"], "sha256": "0" * 64}
    rescored = {**kept(), "evaluate": {**kept()["evaluate"], "knn scores": scores}}
    assert without_a_new_version(kept(), rescored) == [], (
        "a method is versioned by its predictions, not by how they are scored"
    )


def test_a_field_is_predicted_queried_and_exported_as_before(
    manifest: Path, tmp_path: Path, same_processor: bool
) -> None:
    found = recipe.summarised(recipe.predicted(manifest, tmp_path))
    moved = differences(kept()["predict"], found, same_processor)
    assert not moved, "\n".join(moved)


def test_the_demo_finds_the_truth_as_before(tmp_path: Path, same_processor: bool) -> None:
    found = recipe.summarised(recipe.demonstrated(tmp_path))
    moved = differences(kept()["demo"], found, same_processor)
    assert not moved, "\n".join(moved)


@pytest.mark.parametrize("given", ["model", "field"])
def test_what_version_0_1_0_wrote_is_read(manifest: Path, tmp_path: Path, same_processor: bool, given: str) -> None:
    found = recipe.summarised(recipe.predicted(manifest, tmp_path, **{given: OLD / given}))
    moved = differences(kept()["old"], found, same_processor)
    assert not moved, "\n".join(moved)


def test_a_number_that_moves_is_noticed() -> None:
    golden = kept()["predict"]
    name = "query grid: X"
    moved = {**golden[name], "sha256": "0" * 64, "values": [value + 0.1 for value in golden[name]["values"]]}
    for same in (True, False):
        assert differences(golden, golden, same) == []
        assert [words.partition(": [")[0] for words in differences(golden, {**golden, name: moved}, same)] == [name]
    gone = {key: value for key, value in golden.items() if key != name}
    assert differences(golden, gone, False) == [f"{name}: missing"]


def test_public_names_and_options_are_as_before() -> None:
    """After a change on purpose: `python -m tests.goldens --write --snapshots-only`, and a line in CHANGELOG.md."""
    assert recipe.public_names() == json.loads((HERE / "names.json").read_text())
    assert recipe.command_options() == json.loads((HERE / "options.json").read_text())
    assert recipe.help_texts() == (HERE / "help.txt").read_text()
