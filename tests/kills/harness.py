"""Commands that are killed at random moments, whose working files are then damaged, and which are run again.

A damaged file is what a power failure leaves: empty, shortened, zero at its end, or missing. Running the command again
gives the bytes of an undisturbed run, or an error of one line after which starting anew gives them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_WIDTH_UM, _HEIGHT_UM, _PITCH_UM, _CORE = 300.0, 260.0, 60.0, 64
_DAMAGED = 0.75  # share of the kills after which a file is damaged
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)  # in turn
_CONFIG = """
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


class Command(NamedTuple):
    """A command under test.

    `run` is called with the folder of the inputs, the output and how to go on: "" at first, "resume", or "discard".
    `working` are patterns of its working files beside an output NAME, and `compared` of the files to compare in it.
    """

    run: Callable[[Path, Path, str], None]
    working: tuple[str, ...]
    compared: tuple[str, ...] = ("**/*",)


def make_inputs(folder: Path) -> None:
    """Write a small data set, a model and a field."""
    from pixnet.virtual import VirtualTissue, spots, write_dataset

    samples = []
    for name, seed in (("A", 31), ("B", 32), ("C", 33)):
        tissue = VirtualTissue.generate("breast", seed, seed, _WIDTH_UM, _HEIGHT_UM)
        sample = tissue.measure(spots(_WIDTH_UM, _HEIGHT_UM, 50.0, _PITCH_UM), seed)
        samples.append(dataclasses.replace(sample, id=name))
    write_dataset(folder, samples, _PITCH_UM)
    (folder / "small.toml").write_text(_CONFIG)
    _train(folder, folder / "model", "")
    _predict(folder, folder / "field", "")


def import_all() -> None:
    """Import what the commands need, so that their copies of this process have it; nothing of it may start a thread."""
    needed = "anndata torch torchvision zarr pixnet.cli pixnet.evaluation.report pixnet.training.fit"
    for name in needed.split():
        importlib.import_module(name)


def _pixnet(*arguments: object) -> None:
    from pixnet.cli import app
    from pixnet.training import loop

    loop._CHECKPOINT_SECONDS = 0.0  # a checkpoint after each step, so that there is much to go on from
    if status := app([str(argument) for argument in arguments], prog_name="pixnet", standalone_mode=False):
        raise SystemExit(status)


def _train(folder: Path, out: Path, how: str) -> None:
    more = {"": [], "resume": ["--resume"], "discard": ["--overwrite"]}[how]
    options = ["--samples", "A,B", "--config", folder / "small.toml", "--no-estimate", "--device", "cpu"]
    _pixnet("train", folder / "samples.toml", *options, "--out", out, *more)


def _predict(folder: Path, out: Path, how: str) -> None:
    # The command has no option for small blocks, of which this small slide needs several.
    from pixnet.model import PixNet
    from pixnet.slide import Slide

    slide, model = Slide.open(folder / "C.png", 1.0), PixNet.load(folder / "model")
    model.predict(slide, out, core=_CORE, tissue_mask=False, resume=how == "resume", overwrite=how == "discard")


def _evaluate(folder: Path, out: Path, how: str) -> None:
    runs = out.with_name(f"{out.name}-runs")
    if how == "discard":
        shutil.rmtree(runs, ignore_errors=True)
    options = ["--config", folder / "small.toml", "--hold-out", "C", "--methods", "pixnet,mean", "--device", "cpu"]
    more = ["--overwrite"] if how == "discard" else []
    _pixnet("evaluate", folder / "samples.toml", *options, "--out", out, "--runs", runs, *more)


def _export(folder: Path, out: Path, how: str) -> None:
    from pixnet.field import ExpressionField

    more = ["--overwrite"] if how == "discard" else []
    genes = ",".join(ExpressionField.open(folder / "field").gene_names)
    _pixnet("export", folder / "field", "--genes", genes, "--to", "ome-zarr", "--out", out, *more)


COMMANDS = {
    "predict": Command(_predict, ("{}.partial/**/*",)),
    "train": Command(_train, ("{}.work/**/*",), ("model.safetensors", "metrics.csv")),
    "evaluate": Command(
        _evaluate, ("{}-runs/**/*", "{}/.partial/**/*"), ("per_gene.csv", "model/model.safetensors", "fields/**/*")
    ),
    "export": Command(_export, (".{}.partial/**/*",)),
}


def kill_and_resume(name: str, folder: Path, kills: int, seed: int, report: Callable[[str], None]) -> None:
    """Run a command undisturbed, then several times killed, damaged and run again; AssertionError if one is wrong."""
    rng, command, ending = np.random.default_rng(seed), COMMANDS[name], ".zarr" if name == "export" else ""
    began = time.monotonic()
    whole = folder / f"{name}-whole{ending}"
    status, error = _finish(_start(command, folder, whole, ""))
    assert status == 0, error
    seconds, expected = time.monotonic() - began, contents(whole, command.compared)
    assert expected
    for number in range(kills):
        out = folder / f"{name}-{number}{ending}"
        process = _start(command, folder, out, "")
        time.sleep(rng.uniform(0.05, 1.0) * seconds)
        number_of_signal = _SIGNALS[number % len(_SIGNALS)]
        os.kill(process.pid, number_of_signal)
        _finish(process)
        if number_of_signal != signal.SIGKILL:
            assert not _hidden(folder), _hidden(folder)
        damage = _damage(out, command.working, rng) if rng.random() < _DAMAGED else "undamaged"
        status, error = _finish(_start(command, folder, out, "resume"))
        outcome = "resumed"
        if status == 2:
            assert error.startswith("Error: "), error
            outcome = error.strip().splitlines()[-1]
            if "exists already" not in outcome and "holds results.json already" not in outcome:
                status, error = _finish(_start(command, folder, out, "discard"))
                assert status == 0, error
        else:
            assert status == 0, error
        report(f"{name} {number}: {number_of_signal.name}; {damage}; {outcome}")
        assert contents(out, command.compared) == expected, f"{out}: other bytes after {damage}"
        assert not _hidden(folder), _hidden(folder)
        for left in folder.glob(f"{name}-{number}*"):
            shutil.rmtree(left)


def _hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def contents(folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of the files of a folder that match the patterns, by their paths."""
    files = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


class _Process(NamedTuple):
    pid: int
    log: Path


def _start(command: Command, folder: Path, out: Path, how: str) -> _Process:
    """Run a command in a copy of this process, which has everything imported; what it prints goes to a file."""
    log = out.with_name(f"{out.name}.log")
    pid = os.fork()
    if pid:
        return _Process(pid, log)
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = sys.stderr = os.fdopen(descriptor, "w", buffering=1)
        status = _status(command, folder, out, how)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _status(command: Command, folder: Path, out: Path, how: str) -> int:
    import traceback

    import typer

    from pixnet.cli.messages import plain_messages
    from pixnet.cli.process import end_in_order

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    end_in_order()
    try:
        with plain_messages():
            command.run(folder, out, how)
    except typer.Exit as end:
        return int(end.exit_code)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001  whatever it is, it is reported
        traceback.print_exc()
        return 1
    return 0


def _finish(process: _Process) -> tuple[int, str]:
    """Wait for a process; return its exit status and the lines it printed that are neither progress nor warnings."""
    _, status = os.waitpid(process.pid, 0)
    lines = process.log.read_text(errors="replace").splitlines(keepends=True) if process.log.exists() else []
    process.log.unlink(missing_ok=True)
    kept = [line for line in lines if not line.startswith(("Warning: ", "predict", "Field", "Model"))]
    errors = [line for line in kept if line.startswith("Error: ")]
    return os.waitstatus_to_exitcode(status), "".join(errors or kept)


def _damage(out: Path, patterns: Sequence[str], rng: np.random.Generator) -> str:
    """Damage one of the working files of an output as a power failure would; return which and how."""
    files = sorted(
        path
        for pattern in patterns
        for path in out.parent.glob(pattern.format(out.name))
        # The features of an encoder have a store of their own, with tests of its own.
        if path.is_file() and path.name != ".lock" and "features" not in path.parts
    )
    if not files:
        return "no working files"
    file = files[rng.integers(len(files))]
    content = file.read_bytes()
    half = len(content) // 2
    kinds = {"empty": b"", "shortened": content[:half], "zero at its end": content[:half] + bytes(len(content) - half)}
    kind = ["empty", "shortened", "zero at its end", "missing"][rng.integers(4)]
    if kind == "missing":
        file.unlink()
    else:
        file.write_bytes(kinds[kind])
    return f"{file.relative_to(out.parent)} {kind}"
