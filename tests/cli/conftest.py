"""A small data set, and a model and a field made from it through the command line."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pixnet.cli import app
from pixnet.virtual import VirtualTissue, spots, write_dataset

WIDTH_UM, HEIGHT_UM = 300.0, 260.0
PITCH_UM = 60.0

CONFIG = """
[network.encoder]
weights = "random"
[network.decoder]
channels = [8, 8, 8, 8]
[training]
steps = 6
tiles = 4
views = 1
tile_um = 64.0
warmup = 2
validation = "none"
min_counts = 100
[genes]
number = 12
"""


class Outcome:
    """What a run printed and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def messages(self) -> list[str]:
        """Lines of stderr, without lines of progress."""
        return [line for line in self.err.splitlines() if not line.endswith(" elapsed")]

    def assert_refused(self, *words: str) -> None:
        """Check that the run ended with one error message, which contains the words."""
        assert self.status == 2, self.err
        assert "Traceback" not in self.err + self.out
        errors = [line for line in self.messages if not line.startswith("Warning: ")]
        assert len(errors) == 1, self.err
        assert errors[0].startswith("Error: ")
        for word in words:
            assert word in errors[0]


Run = Callable[..., Outcome]


def invoke(*arguments: object) -> Outcome:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="pixnet")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def run() -> Run:
    """Return a function that runs `pixnet` with some arguments in this process."""
    return invoke


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three virtual samples, A, B and C, and a configuration; B and C share a donor."""
    folder = tmp_path_factory.mktemp("data")
    samples = []
    for name, seed, donor in (("A", 31, 41), ("B", 32, 42), ("C", 33, 42)):
        tissue = VirtualTissue.generate("breast", seed, donor, WIDTH_UM, HEIGHT_UM)
        sample = tissue.measure(spots(WIDTH_UM, HEIGHT_UM, 50.0, PITCH_UM), seed)
        samples.append(dataclasses.replace(sample, id=name))
    write_dataset(folder, samples, PITCH_UM)
    (folder / "small.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def copied(data: Path, tmp_path: Path) -> Path:
    """Return a copy of the data set that a test may damage."""
    return Path(shutil.copytree(data, tmp_path / "data"))


@pytest.fixture(scope="session")
def model(data: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model trained on A and B; tests only read it."""
    out = tmp_path_factory.mktemp("model") / "model"
    done = run("train", data / "samples.toml", "--samples", "A,B", "--config", data / "small.toml", "--out", out)
    assert done.status == 0, done.err
    return out


@pytest.fixture(scope="session")
def field(data: Path, model: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the field of C; tests only read it."""
    out = tmp_path_factory.mktemp("field") / "field"
    done = run("predict", data / "C.png", "--model", model, "--mpp", "1.0", "--out", out)
    assert done.status == 0, done.err
    return out
