from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.fuzz.harness import available
from tests.fuzz.mutate import mutate

ROOT = Path(__file__).resolve().parents[2]
CASES = 7  # of each input


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the outcomes of a few cases of every input; `python -m tests.fuzz` runs more."""
    path = tmp_path_factory.mktemp("fuzz") / "outcomes.jsonl"
    command = [sys.executable, "-m", "tests.fuzz", "--cases", str(CASES * len(available())), "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert path.exists(), done.stderr
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", list(available()))
def test_damage_ends_in_a_sample_or_an_error_of_ours(outcomes: list[dict[str, Any]], name: str) -> None:
    of_input = [outcome for outcome in outcomes if outcome["target"] == name]
    assert len(of_input) == CASES
    bugs = [outcome for outcome in of_input if outcome["kind"] == "bug"]
    assert not [f"{bug['target']}:{bug['seed']} {bug['message']}" for bug in bugs]


def test_damage_follows_from_its_seed_alone() -> None:
    data = bytes(range(256)) * 8
    damaged = [mutate(data, random.Random(seed)) for seed in range(50)]
    assert damaged == [mutate(data, random.Random(seed)) for seed in range(50)]
    assert sum(copy != data for copy in damaged) > 40
