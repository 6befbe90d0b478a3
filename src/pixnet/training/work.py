"""The work folder of a training: for one process at a time, and for the training that it was begun for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pixnet.errors import ModelError, PixNetError
from pixnet.files import read_note, write_note
from pixnet.lock import LOCK, locked
from pixnet.training.feature_costs import COSTS, LEFT_OUT

_NOTE = "run"
_FILES = ("*.ckpt", "*.part", "metrics.csv", COSTS)  # of an earlier training, to be deleted
_KNOWN = (_NOTE, "features", LOCK, f"{LEFT_OUT}*", *_FILES)


@contextmanager
def working_in(work: Path) -> Iterator[Path]:
    """Lock the work folder of a training, and yield it.

    ModelError is raised if another process trains there or it cannot be written. After an error that another attempt
    would meet again, a folder that was empty is deleted. After one of the system's, such as a full disk, what was done
    remains and can be continued.
    """
    try:
        with locked(work, work, ModelError):
            is_new = all(path.name == LOCK for path in work.iterdir())
            try:
                yield work
            except PixNetError as error:
                if is_new and not isinstance(error.__cause__, OSError):
                    shutil.rmtree(work, ignore_errors=True)
                raise
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(
            f"{work} cannot be written ({reason}). What was done is kept there: fix the problem and continue."
        ) from error


def begin(work: Path, key: str, *, resume: bool, overwrite: bool) -> None:
    """Begin or continue the training of a key in a work folder, which is locked.

    A training with checkpoints is neither continued with another key nor thrown away unasked. With both `resume` and
    `overwrite`, it is thrown away if its note is damaged.
    """
    note = work / _NOTE
    if note.exists():
        facts = read_note(note)
        if resume and not (overwrite and facts is None):
            _check_key(note, facts, key)
            return
        if not overwrite and any(work.rglob("*.ckpt")):
            raise ModelError(
                f"{work} holds an unfinished training. Continue it with `resume=True`, or discard it with "
                "`overwrite=True`."
            )
    for folder in work.glob(f"{LEFT_OUT}*"):
        shutil.rmtree(folder)
    for pattern in _FILES:
        for file in work.glob(pattern):
            file.unlink()
    work.mkdir(parents=True, exist_ok=True)
    write_note(note, {"key": key})


def check_is_work(work: Path) -> None:
    """Check that a folder holds nothing but what a training leaves, so that it may be used and deleted."""
    if not work.is_dir() or any(not any(path.match(name) for name in _KNOWN) for path in work.iterdir()):
        raise ModelError(f"{work}: is needed for checkpoints, but is not a work folder of pixnet; move it away.")


def _check_key(note: Path, facts: dict[str, Any] | None, key: str) -> None:
    if facts is None:
        raise ModelError(
            f"{note} is damaged or of another version of PixNet. Discard the training with `overwrite=True`."
        )
    if facts.get("key") != key:
        raise ModelError(
            f"{note.parent}: holds a training with other settings, samples or number of threads, or of another version "
            "of PixNet's training. Discard it with `overwrite=True`."
        )
