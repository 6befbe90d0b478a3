from __future__ import annotations

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch

# Checkpoints after every step, so that a short run can be killed between two of them.
_EAGER = "import pixnet.training.loop as loop; loop._CHECKPOINT_SECONDS = 0.0; from pixnet.cli import main; main()"


def test_a_model_folder_has_the_requested_content(data, model):
    card = json.loads((model / "card.json").read_text())
    assert [sample["id"] for sample in card["samples"]] == ["A", "B"]
    assert len(card["genes"]) == 12
    assert card["steps"] == 6
    with (model / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["6"]
    assert sorted(path.name for path in model.parent.iterdir()) == ["model"]


@pytest.mark.parametrize(
    ("ids", "target", "words"),
    [
        ("B,A", "new-donor", r"on slides of other donors: PCC@M .* from 2 trainings that left out 2 donors in turn\."),
        ("B,C", "new-donor", r"on slides of other donors: not known; all samples are of one donor, .* --target same"),
        ("B,C", "same-donor", r"on other sections of the same donor: PCC@M .* \(.* to .*\), .* left out 2 samples"),
    ],
)
def test_options_come_before_the_file(data, run, tmp_path, ids, target, words):
    out = tmp_path / "model"
    arguments = ("--config", data / "small.toml", "--genes", "5", "--seed", "7", "--samples", ids, "--device", "cpu")
    done = run("train", data / "samples.toml", *arguments, "--target", target, "--out", out)
    assert done.status == 0, done.err
    model, expected = done.out.splitlines()
    assert model == f"Model: {out} (5 genes, 6 steps on 2 samples)"
    assert re.match(f"Expected {words}", expected), expected
    card = json.loads((out / "card.json").read_text())
    assert (len(card["genes"]), card["seed"], card["config"]["target"]) == (5, 7, target)
    assert [sample["id"] for sample in card["samples"]] == ids.split(",")


def test_an_estimate_that_was_interrupted_goes_on(data, run, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    out = tmp_path / "model"
    arguments = ("--config", data / "small.toml", "--samples", "A,B", "--device", "cpu", "--out", out)
    with monkeypatch.context() as patch:
        patch.setattr("pixnet.training.left_out._predicted", interrupted)
        assert run("train", data / "samples.toml", *arguments).status == 130
    assert (tmp_path / "model.work" / "left-out-0").is_dir()
    assert not out.exists()
    done = run("train", data / "samples.toml", *arguments, "--resume")
    assert done.status == 0, done.err
    assert "Expected on slides of other donors: PCC@M" in done.out
    assert json.loads((out / "card.json").read_text())["expected"]["folds"] == 2
    assert not (tmp_path / "model.work").exists()


def test_without_an_estimate_nothing_is_said_of_others(data, run, tmp_path):
    arguments = ("--config", data / "small.toml", "--samples", "A,B", "--device", "cpu", "--out", tmp_path / "model")
    done = run("train", data / "samples.toml", *arguments, "--no-estimate")
    assert done.out.splitlines()[1] == "Expected on slides of other donors: not estimated (--no-estimate)."
    assert json.loads((tmp_path / "model" / "card.json").read_text())["expected"] is None


def test_a_model_is_not_overwritten_unasked(data, model, run):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    run("train", data / "samples.toml", "--out", model).assert_refused(str(model), "exists already", "--overwrite")
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_only_a_model_is_overwritten(data, run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    run("train", data / "samples.toml", "--out", tmp_path, "--overwrite").assert_refused("not a model folder")
    assert (tmp_path / "thesis.txt").exists()


def test_a_folder_in_the_way_of_the_checkpoints_is_left_alone(data, run, tmp_path):
    (tmp_path / "model.work").mkdir()
    (tmp_path / "model.work" / "notes").write_text("mine")
    run("train", data / "samples.toml", "--out", tmp_path / "model").assert_refused("model.work", "move it away")
    assert (tmp_path / "model.work" / "notes").exists()


def test_a_failed_training_leaves_nothing(data, run, tmp_path):
    config = (data / "small.toml").read_text().replace("min_counts = 100", "min_counts = 1000000")
    (tmp_path / "few.toml").write_text(config)
    done = run("train", data / "samples.toml", "--config", tmp_path / "few.toml", "--out", tmp_path / "model")
    done.assert_refused("no region has 1000000 counts")
    assert [path.name for path in tmp_path.iterdir()] == ["few.toml"]


def test_a_preset_belongs_into_the_file(data, run, tmp_path):
    arguments = ("--config", data / "small.toml", "--preset", "paper", "--out", tmp_path / "model")
    run("train", data / "samples.toml", *arguments).assert_refused("--preset paper", "into the file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[training]\nstep = 5", "did you mean 'steps'?"),
        ("[training]\nsteps = 0", "training.steps = 0"),
        ("[training", "not valid TOML"),
        ('preset = "huge"', "preset 'huge' is not known"),
    ],
)
def test_a_bad_configuration_is_explained(data, run, tmp_path, text, words):
    (tmp_path / "bad.toml").write_text(text)
    done = run("train", data / "samples.toml", "--config", tmp_path / "bad.toml", "--out", tmp_path / "model")
    done.assert_refused("bad.toml", words)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_goes_on_to_the_same_model(data, run, tmp_path):
    config = (data / "small.toml").read_text().replace("steps = 6", "steps = 20").replace('"none"', '"block"')
    (tmp_path / "run.toml").write_text(config)
    options = ["--samples", "A,B", "--config", tmp_path / "run.toml", "--threads", "1", "--device", "cpu"]

    def start(*more: str) -> subprocess.Popen[str]:
        arguments = map(str, ["train", data / "samples.toml", *options, "--out", tmp_path / "killed", *more])
        return subprocess.Popen([sys.executable, "-c", _EAGER, *arguments], stderr=subprocess.PIPE, text=True)  # noqa: S603

    killed = start()
    # The second stage has begun: the number of steps is known, and the final training has started.
    while not (tmp_path / "killed.work" / "refit.ckpt").exists():
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed").exists()
    resumed = start("--resume")
    assert "Error" not in resumed.communicate()[1]
    unbroken = run("train", data / "samples.toml", *options, "--out", tmp_path / "unbroken")
    assert unbroken.status == 0, unbroken.err
    for name in ("model.safetensors", "metrics.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "run.toml", "unbroken"]


def test_an_unfinished_training_is_not_thrown_away_unasked(data, run, tmp_path):
    arguments = ("--config", data / "small.toml", "--samples", "A,B", "--device", "cpu", "--out", tmp_path / "model")
    work = tmp_path / "model.work"
    work.mkdir()
    (work / "run").write_text("")
    (work / "fit.ckpt").write_text("hours of work")
    done = run("train", data / "samples.toml", *arguments)
    done.assert_refused("model.work holds an unfinished training", "Continue it with --resume", "--overwrite")
    assert (work / "fit.ckpt").read_text() == "hours of work"
    run("train", data / "samples.toml", *arguments, "--resume").assert_refused("run is damaged", "--overwrite")
    done = run("train", data / "samples.toml", *arguments, "--overwrite", "--no-estimate")
    assert done.status == 0, done.err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == dict.fromkeys(
        ("model.safetensors", "card.json", "metrics.csv"), 0o666 & ~umask()
    )


def test_a_full_disk_ends_in_an_error_and_can_be_resumed(data, run, tmp_path):
    # A process that may write no file larger than this fails in the middle, just as on a full disk.
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    options = ["--config", data / "small.toml", "--samples", "A,B", "--device", "cpu", "--no-estimate"]
    arguments = list(map(str, ["train", data / "samples.toml", *options, "--out", tmp_path / "model"]))
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _EAGER, *arguments], capture_output=True, text=True, preexec_fn=limit
    )
    assert done.returncode == 2, done.stderr
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith(f"Error: {tmp_path / 'model.work'}")
    assert "cannot be written (File too large)." in error
    assert "kept" in error
    assert (tmp_path / "model.work").is_dir()
    resumed = run(*arguments, "--resume")
    assert resumed.status == 0, resumed.err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_two_trainings_of_one_model_do_not_disturb_each_other(data, run, tmp_path):
    work = tmp_path / "model.work"
    code = f"""
import sys
from pathlib import Path
from pixnet.training.work import working_in
with working_in(Path({str(work)!r})):
    print("here", flush=True)
    sys.stdin.readline()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert other.stdout.readline() == "here\n"
    done = run("train", data / "samples.toml", "--config", data / "small.toml", "--out", tmp_path / "model")
    done.assert_refused(f"model.work is being written by process {other.pid} on ")
    other.communicate("\n")
    assert not list(tmp_path.iterdir())


def test_a_warning_says_that_there_is_nothing_to_resume(data, run, tmp_path):
    arguments = ("--config", data / "small.toml", "--samples", "A,B", "--resume", "--out", tmp_path / "model")
    done = run("train", data / "samples.toml", *arguments)
    assert done.status == 0
    assert [line for line in done.messages if "starts from the beginning" in line and line.startswith("Warning: ")]
