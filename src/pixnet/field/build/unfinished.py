"""A field that is being built: in a locked folder beside its place, with a log of the finished blocks.

The folder `NAME.partial` holds the growing `store`; in `begun.json`, what the field is made from; in `log.jsonl`, one
line per finished block; and in `lock` and `owner.json`, which process writes. When the store is complete, it is renamed
to `NAME`. So a field under `NAME` is always complete, and what a killed process leaves can be continued.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pixnet.errors import FieldError
from pixnet.files import check_place, put_in_place, write_whole

Facts = dict[str, Any]
"""What a field is made from, as JSON values."""


class Unfinished:
    """An unfinished field that only this process may write. Made by `claimed`.

    `store` is the folder of the growing store, `log` the lines of the finished blocks, in order, and `begun` whether
    the store's arrays have been created.
    """

    def __init__(self, out: Path, folder: Path, facts: Facts) -> None:
        self._out = out
        self._folder = folder
        self._facts = facts
        self._begun = folder / "begun.json"
        self._log = folder / "log.jsonl"
        self.store = folder / "store"
        self.log = self._read_log() if self._begun.is_file() else []
        # The first line says that the field was begun. A process killed before it has left nothing of use.
        self.begun = bool(self.log)

    def begin(self) -> None:
        """Note that the store's arrays are complete and blocks may follow."""
        write_whole(self._begun, json.dumps(self._facts))
        self.begun = True

    def note(
        self, block: int | None, exponent: Sequence[int | None], failed: int = 0, holds_data: bool = False
    ) -> None:
        """Add a line to the log, after the block that it describes was written."""
        line = {"block": block, "failed": failed, "holds_data": holds_data, "exponent": list(exponent)}
        with self._log.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.log.append(line)

    def clear(self) -> None:
        """Delete what was built, but keep the lock."""
        for path in (self._begun, self._log):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.store, ignore_errors=True)
        self.begun, self.log = False, []

    def finish(self) -> None:
        """Move the complete store to its place, and delete the field that was there."""
        put_in_place(self.store, self._out, aside=self._folder / "old")
        self.clear()

    def _read_log(self) -> list[Facts]:
        """Read the log, and remove an incomplete last line that a killed process left."""
        try:
            text = self._log.read_bytes()
        except FileNotFoundError:
            return []
        complete = text[: text.rfind(b"\n") + 1]
        if len(complete) < len(text):
            with self._log.open("r+b") as file:
                file.truncate(len(complete))
        return [json.loads(line) for line in complete.splitlines()]


@contextmanager
def claimed(out: Path, facts: Facts, *, resume: bool, overwrite: bool) -> Iterator[Unfinished]:
    """Lock the place where a field is built from `facts`, and yield the unfinished field; see `build_field`.

    After an error that another attempt would meet again (a `FieldError`, a `ValueError`), everything is deleted. After
    any other, such as a full disk, the finished blocks remain and can be continued.
    """
    folder = partial_folder(out)
    # The process that began the field was allowed to overwrite what is there.
    allowed = overwrite or (resume and (folder / "begun.json").is_file())
    check_place(out, FieldError, what="an expression field", replaceable=_may_be_field, overwrite=allowed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, out):
            unfinished = Unfinished(out, folder, facts)
            if unfinished.begun and (resume or not overwrite):
                _check_same(folder, facts, resume)
                for incomplete in unfinished.store.rglob("*.partial"):
                    incomplete.unlink()  # was being written when the process was killed
            else:
                unfinished.clear()
            try:
                yield unfinished
            except (FieldError, ValueError):
                unfinished.clear()
                raise
            finally:
                if not unfinished.log:
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        advice = "Fix the problem and try again."
        if folder.is_dir():
            advice = f"Finished blocks are in {folder}: fix the problem and run it again with `resume=True`."
        raise FieldError(f"{out} cannot be written ({error.strerror or error}). {advice}") from error


def partial_folder(out: Path) -> Path:
    """Return the folder in which a field is built."""
    return out.with_name(f"{out.name}.partial")


def _may_be_field(path: Path) -> bool:
    """Return whether a path is an empty folder or a Zarr store, and not any folder that was named by mistake."""
    return path.is_dir() and (not any(path.iterdir()) or (path / "zarr.json").is_file())


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases when the process ends, however it ends."""
    owner = folder / "owner.json"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        writer = "another process"
        with suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads(owner.read_text())
            writer = f"process {facts['pid']} on {facts['host']}"
        raise FieldError(f"{out} is being written by {writer}. Wait for it to end, or choose another place.") from None
    try:
        owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        lock.release()


def _check_same(folder: Path, facts: Facts, resume: bool) -> None:
    """Check that an unfinished field may be continued: on request, and from the same facts."""
    if not resume:
        raise FieldError(
            f"{folder} holds an unfinished field. Continue it with `resume=True`, or discard it with `overwrite=True`."
        )
    begun = json.loads((folder / "begun.json").read_text())
    differing = [key for key in facts if begun.get(key) != facts[key]]
    if differing:
        key = differing[0]
        raise FieldError(
            f"{folder} was begun with another {key} ({begun.get(key)!r}, now {facts[key]!r}). Resume with the same "
            "slide, model and options, or discard it with `overwrite=True`."
        )
