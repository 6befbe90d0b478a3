"""A field that is being built: in a folder beside its place, locked, with a log of the blocks that are done.

The folder `NAME.partial` holds the growing `store`; `begun.json`, what it is made from; `log.jsonl`, a line for each
finished block; `lock` and `owner.json`, who is writing. The store takes its place under `NAME` in one step, when it is
complete. So whatever stands under `NAME` is whole, and whatever a killed process leaves can be gone on with.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pixnet.errors import FieldError
from pixnet.files import write_whole

Facts = dict[str, Any]
"""What a field is made from; plain JSON."""


class Unfinished:
    """An unfinished field that this process alone may write. Made by `claimed`.

    Attributes
    ----------
    store
        Folder of the growing store.
    log
        The lines of finished blocks so far, in their order.
    begun
        Whether the store's arrays have been made already.
    """

    def __init__(self, out: Path, folder: Path, facts: Facts) -> None:
        self._out, self._folder, self._facts = out, folder, facts
        self.store = folder / "store"
        self._begun, self._log = folder / "begun.json", folder / "log.jsonl"
        self.begun = self._begun.is_file()
        self.log = self._read_log() if self.begun else []
        self.begun = bool(self.log)  # the first line tells of the beginning; killed before it, nothing is there yet

    def begin(self) -> None:
        """Say that the store's arrays stand and blocks may follow."""
        write_whole(self._begun, json.dumps(self._facts))
        self.begun = True

    def note(self, line: Facts) -> None:
        """Add a line to the log, after what it tells of is written."""
        with self._log.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.log.append(line)

    def clear(self) -> None:
        """Throw away what was built, but stay its owner."""
        for path in (self._begun, self._log):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.store, ignore_errors=True)
        self.begun, self.log = False, []

    def finish(self) -> None:
        """Put the complete store in its place; what was there is deleted once that has worked."""
        old = self._folder / "old"
        if self._out.exists():
            os.replace(self._out, old)
        try:
            os.replace(self.store, self._out)
        except OSError:
            if old.exists():
                os.replace(old, self._out)
            raise
        self.clear()

    def _read_log(self) -> list[Facts]:
        """Read the log; a last line that was cut off by a kill is cut off here too."""
        try:
            text = self._log.read_bytes()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            with self._log.open("r+b") as file:
                file.truncate(len(whole))
        return [json.loads(line) for line in whole.splitlines()]


@contextmanager
def claimed(out: Path, facts: Facts, *, resume: bool, overwrite: bool) -> Iterator[Unfinished]:
    """Take hold of the place where a field is to be built.

    If the work ends with an error that trying again cannot mend (a `FieldError`, a `ValueError`), nothing is left of
    it; after any other, such as a full disk, the finished blocks stay and can be gone on with.

    Parameters
    ----------
    out
        Folder of the field.
    facts
        What it is made from.
    resume
        Go on with what an earlier process left, if it was made from the same.
    overwrite
        Replace a field that is there, and throw away what an earlier process left.

    Raises
    ------
    FieldError
        If something is at `out` that is not to be replaced, if another process is building it, if an unfinished field
        is there and neither `resume` nor `overwrite` is set, if it was made from something else, or if the disk is full
        or may not be written.
    """
    folder = partial_folder(out)
    # Whoever began it was allowed to replace what is there.
    _check_place(out, overwrite or (resume and (folder / "begun.json").is_file()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, out):
            unfinished = Unfinished(out, folder, facts)
            if unfinished.begun and (resume or not overwrite):
                _check_same(folder, facts, resume)
                for torn in unfinished.store.rglob("*.partial"):
                    torn.unlink()  # a file that was being written when the process was killed
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
        kept = f"What is done is kept in {folder}: mend that and --resume." if folder.is_dir() else "Mend that first."
        raise FieldError(f"{out} cannot be written ({error.strerror or error}). {kept}") from error


def partial_folder(out: Path) -> Path:
    """Give the folder in which a field is built."""
    return out.with_name(f"{out.name}.partial")


def _check_place(out: Path, overwrite: bool) -> None:
    """Raise FieldError if something is at `out` that must not be replaced."""
    if out.exists() or out.is_symlink():
        if not overwrite:
            raise FieldError(f"{out} exists already. Give another place, or ask to overwrite it.")
        # To overwrite means a field, not whatever folder a slip of the hand names.
        if not out.is_dir() or (any(out.iterdir()) and not (out / "zarr.json").is_file()):
            raise FieldError(f"{out} is not an expression field, so it is not overwritten. Give another place.")


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go of when the process ends, however it ends."""
    owner = folder / "owner.json"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = "another process"
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(owner.read_text())
            who = f"process {found['pid']} on {found['host']}"
        raise FieldError(f"{out} is being written by {who}. Wait for it to end, or give another place.") from None
    try:
        owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        lock.release()


def _check_same(folder: Path, facts: Facts, resume: bool) -> None:
    """Refuse to go on with a field that was begun from something else, or unasked."""
    if not resume:
        raise FieldError(
            f"{folder} holds an unfinished field. Go on with it (--resume), or throw it away (--overwrite)."
        )
    begun = json.loads((folder / "begun.json").read_text())
    differing = [key for key in facts if begun.get(key) != facts[key]]
    if differing:
        key = differing[0]
        raise FieldError(
            f"{folder} was begun with another {key.replace('_', ' ')} ({begun.get(key)!r}, now {facts[key]!r}). "
            "Resume with the same slide, model and options, or throw it away (--overwrite)."
        )
