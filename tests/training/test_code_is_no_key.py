"""Renaming code and rewording messages refuses no resumed training and computes no features again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import pixnet
from pixnet.network.encoders.weights import weights_hash
from pixnet.sample import Sample
from pixnet.sample.panel import choose_panel
from pixnet.training import loop
from pixnet.training.feature_costs import COSTS
from pixnet.training.fit import FitOptions, Fitted, fit_network

STEPS, BROKEN_OFF_AFTER = 6, 3

# Resumes the training with the package found first on PYTHONPATH, and prints what it did.
RESUME = """
import json, sys
from pathlib import Path
import torch
from tests.training import small
work, features, steps, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
import pixnet
from pixnet.files import read_note
from pixnet.network.encoders.weights import weights_hash
from pixnet.training.feature_costs import COSTS
from pixnet.training.fit import FitOptions, fit_network

steps_done = []

def progress(stage, done, total, text):
    if stage == "fit":
        steps_done.append(done)

samples = small.make_samples(2)
options = FitOptions(Path(work), cache=Path(features), resume=True, progress=progress)
config = small.training_config(steps=int(steps))
fitted = fit_network(samples, small.make_panel(samples), small.network_config(), config, options)
modules = [name for name in sys.modules if name.startswith("pixnet.training.")]
costs = read_note(Path(work) / COSTS)
print(json.dumps({
    "package": pixnet.__file__,
    "modules": modules,
    "steps": steps_done,
    "weights": weights_hash(fitted.network),
    "computed": [facts["made"] for facts in costs.values()],
}))
"""


def replace(package: Path, old: str, new: str) -> int:
    """Replace a text in all files of a package, and return in how many files it was."""
    changed = 0
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if old in text:
            path.write_text(text.replace(old, new), encoding="utf-8")
            changed += 1
    return changed


@pytest.fixture
def renamed_package(tmp_path: Path) -> Path:
    """A copy of the package with a renamed module, class and private function, and a reworded error message."""
    package = tmp_path / "renamed" / "pixnet"
    shutil.copytree(Path(pixnet.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "training" / "batches.py").rename(package / "training" / "draws.py")
    assert replace(package, "pixnet.training.batches", "pixnet.training.draws") >= 3
    assert replace(package, "Symmetry", "Turn") >= 1
    assert replace(package, "_update_average", "_move_average") == 1
    assert replace(package, "regions drawn at random have no valid pixel.", "random regions are all invalid.") == 1
    return package


def test_a_training_goes_on_with_renamed_modules_and_reworded_messages(
    samples: list[Sample],
    renamed_package: Path,
    tmp_path: Path,
    network_config: Any,
    training_config: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = training_config(steps=STEPS)
    panel = choose_panel(samples[:2], 12)  # as the resumed training chooses it

    def fit(options: FitOptions) -> Fitted:
        return fit_network(samples[:2], panel, network_config(), config, options)

    unbroken = fit(FitOptions(tmp_path / "unbroken"))

    class BrokenOffError(Exception):
        pass

    def break_off(stage: str, done: int, total: int, text: str) -> None:
        if stage == "fit" and done > BROKEN_OFF_AFTER:
            raise BrokenOffError

    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1.0)  # a checkpoint after each step
    work, features = tmp_path / "work", tmp_path / "features"
    with pytest.raises(BrokenOffError):
        fit(FitOptions(work, cache=features, progress=break_off))
    (work / COSTS).unlink()  # so that it holds what the resumed training does

    threads = str(torch.get_num_threads())
    resumed = subprocess.run(  # noqa: S603  this very test's own program
        [sys.executable, "-W", "ignore", "-c", RESUME, str(work), str(features), str(STEPS), threads],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(renamed_package.parent), "OMP_NUM_THREADS": threads},
        cwd=Path(__file__).parents[2],  # where it finds `tests`
    )
    assert resumed.returncode == 0, resumed.stderr
    facts = json.loads(resumed.stdout)
    assert Path(facts["package"]).parent == renamed_package
    assert "pixnet.training.draws" in facts["modules"]
    assert "pixnet.training.batches" not in facts["modules"]
    assert facts["steps"] == list(range(BROKEN_OFF_AFTER + 1, STEPS + 1))
    assert facts["computed"] == [False, False]
    assert facts["weights"] == weights_hash(unbroken.network)
    assert (work / "metrics.csv").read_bytes() == (tmp_path / "unbroken" / "metrics.csv").read_bytes()
