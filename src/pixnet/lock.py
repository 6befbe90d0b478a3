"""Locks: only one process at a time works in a folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
"""Name of the lock's file in the folder; while it is held, it says which process holds it."""


@contextmanager
def locked(folder: Path, what: Path, error: type[Exception]) -> Iterator[None]:
    """Hold the lock of a folder, which is created; raise `error`, about `what`, if another process holds it.

    The system releases the lock when the process ends, however it ends. In the end the file is deleted, and the folder
    too if nothing is in it. What holds the lock may take it again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    lock = FileLock(path.absolute(), is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise error(
            f"{what} is being written by {_holder(path)}. Wait for it to end, or choose another place."
        ) from None
    try:
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        if lock.lock_counter == 1:
            # Deleted while it is held: whoever has opened it meanwhile notices and tries again.
            path.unlink(missing_ok=True)
        lock.release()
        if not lock.is_locked:
            with suppress(OSError):
                folder.rmdir()


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads(path.read_text())
        return f"process {facts['pid']} on {facts['host']}"
    return "another process"
