"""Problems of a sample are reported before anything is trained on it."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from PIL import Image

COMMANDS = {"train": (), "evaluate": ("--hold-out", "C", "--methods", "mean")}


def flip(data, name: str) -> None:
    """Move a slide's tissue into one corner of a larger image, away from its spots."""
    rgb = np.asarray(Image.open(data / f"{name}.png"))
    canvas = np.full((2 * rgb.shape[0], 2 * rgb.shape[1], 3), 245, np.uint8)
    canvas[rgb.shape[0] :, rgb.shape[1] :] = rgb
    Image.fromarray(canvas).save(data / f"{name}.png")


@pytest.mark.parametrize("command", COMMANDS)
def test_errors_are_refused(copied, run, tmp_path, command):
    flip(copied, "B")
    arguments = (
        command,
        copied / "samples.toml",
        *COMMANDS[command],
        "--config",
        copied / "small.toml",
        "--out",
        tmp_path / "o",
    )
    done = run(*arguments)
    done.assert_refused("sample 'B' cannot be used", "flipped: If the positions are read as turned by", "--skip-checks")
    assert not (tmp_path / "o").exists()
    assert not (tmp_path / "o.work").exists()
    assert run(*arguments, "--skip-checks").status == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_warnings_are_printed(copied, run, tmp_path, command):
    path = copied / "B.tsv.gz"
    head, first, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    spot, *values = first.split("\t")
    empty = "\t".join([spot, *["0"] * len(values)])
    path.write_bytes(gzip.compress("\n".join([head, empty, *rows, ""]).encode()))
    arguments = (*COMMANDS[command], "--config", copied / "small.toml", "--out", tmp_path / "o")
    done = run(command, copied / "samples.toml", *arguments)
    assert done.status == 0, done.err
    warned = [line for line in done.messages if "B: empty: 1 of " in line]
    assert len(warned) == 1
    assert warned[0].startswith("Warning: ")


def test_a_sample_that_cannot_be_read_is_refused_with_its_cause(copied, run, tmp_path):
    (copied / "B.png").write_bytes(b"no image")
    done = run("train", copied / "samples.toml", "--config", copied / "small.toml", "--out", tmp_path / "model")
    done.assert_refused("sample 'B' cannot be used", "B.png")
    assert "--skip-checks" not in done.err
