"""Writing files and folders so that they are complete or absent.

Everything is written beside its place, brought to the disk and renamed into place. So a kill, an error, a full disk or
a power failure leaves what was there.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pixnet.digest import sealed, unsealed
from pixnet.lock import LOCK, locked

_PARTIAL, _COMPLETE, _MOVING = ".partial", ".complete", ".moving"  # folders of `replacing_entries`
_PAUSE_S, _PAUSES = 0.1, 50  # while threads of a library still write after an interrupt


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8, complete or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_note(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts as JSON with their digest, complete or not at all, for `read_note`."""
    write_whole(path, json.dumps(sealed(facts)))


def read_note(path: Path) -> dict[str, Any] | None:
    """Return the facts that `write_note` wrote; None if there is no such file, or if it was damaged."""
    try:
        return unsealed(path.read_bytes())
    except FileNotFoundError:
        return None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path `NAME.part` to write a file to, in a folder that exists; rename it to `path` if nothing fails."""
    partial = path.with_name(f"{path.name}.part")
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Bring the content of a file, or the names in a folder, to the disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Bring a file, or a folder with everything in it, to the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            sync(Path(folder, name))
        sync(Path(folder))
    if not path.is_dir():
        sync(path)


@contextmanager
def writing_beside(place: Path, error: type[Exception]) -> Iterator[Path]:
    """Yield a path in a hidden folder `.NAME.partial` beside a place; move the file or folder written there to it.

    Missing parent folders are created. The hidden folder may hold scratch files too. It is deleted in the end; what a
    killed process left there is deleted before. `error` is raised in place of an OSError, and if another process writes
    to the same place.
    """
    scratch = _scratch(place)
    try:
        with locked(scratch, place, error):
            _finish_replacement(place)
            try:
                yield scratch / place.name
                sync_tree(scratch / place.name)
                put_in_place(scratch / place.name, place, aside=_aside(place))
            except BaseException:
                _clear_until_quiet(scratch)
                raise
            _clear(scratch)
    except OSError as problem:
        reason = problem.strerror or problem
        raise error(f"{place} cannot be written ({reason}). Fix the problem and try again.") from problem


def put_in_place(new: Path, place: Path, aside: Path) -> None:
    """Rename a complete file or folder to its place, on the same file system, where a file is replaced.

    A folder at the place is moved to `aside` first. It is moved back if `new` cannot be renamed.
    """
    if not place.is_dir():
        os.replace(new, place)
    else:
        try:
            os.replace(place, aside)
            os.replace(new, place)
        except BaseException:
            if os.path.lexists(aside) and not os.path.lexists(place):
                os.replace(aside, place)
            raise
    sync(place.parent)


def _scratch(place: Path) -> Path:
    return place.with_name(f".{place.name}.partial")


def _aside(place: Path) -> Path:
    return _scratch(place) / f"{place.name}.old"


def _finish_replacement(place: Path) -> None:
    """Finish what a killed process began, and clear what else it left; only for the process that holds the lock.

    It may have moved the old folder aside, and the complete one not yet to its place.
    """
    if os.path.lexists(_aside(place)) and not os.path.lexists(place):
        os.replace(_scratch(place) / place.name, place)
    _clear(_scratch(place))


def _clear(folder: Path) -> bool:
    """Delete what is in a folder but its lock; return whether there was anything."""
    entries = [entry for entry in folder.iterdir() if entry.name != LOCK]
    for entry in entries:
        _remove(entry)
    return bool(entries)


def _clear_until_quiet(folder: Path) -> None:
    """Delete what is in a folder, and what threads of a library still write there for a while after an interrupt."""
    for _ in range(_PAUSES):
        if not _clear(folder):
            return
        time.sleep(_PAUSE_S)


def _remove(path: Path) -> None:
    """Delete a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replacing_entries(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield a folder inside `folder`; move what is written there into `folder` if nothing fails.

    Only for the process that holds the folder's lock. The files and folders `names` are replaced or, where no new one
    was written, deleted; everything else remains. The last one marks the folder as complete: it is deleted first and
    moved last. Call `finish_entries` before: it completes what a killed process left.
    """
    partial = folder / _PARTIAL
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        sync_tree(partial)
        os.replace(partial, folder / _COMPLETE)
        sync(folder)
        finish_entries(folder, names)
    finally:
        _remove(partial)


def finish_entries(folder: Path, names: Sequence[str]) -> None:
    """Move a complete set of entries into a folder, also if a killed process began with it; see `replacing_entries`.

    The folder that holds the new entries is renamed when all old ones are deleted. So it is always known which are new.
    """
    complete, moving = folder / _COMPLETE, folder / _MOVING
    if complete.is_dir():
        for name in reversed(names):
            _remove(folder / name)
        os.replace(complete, moving)
    if moving.is_dir():
        for name in names:
            if os.path.lexists(moving / name):
                os.replace(moving / name, folder / name)
        sync(folder)
        _remove(moving)


def check_place(
    place: Path,
    error: type[Exception],
    *,
    what: str,
    replaceable: Callable[[Path], bool],
    overwrite: bool,
    source: Path | None = None,
) -> None:
    """Check that a place is free or holds what may be overwritten; raise `error` otherwise.

    Only `what`, such as "a model folder", may be overwritten: `replaceable` returns whether a path that exists holds
    it, and not another file or folder that was named by mistake. `source` is a folder that is read meanwhile, which the
    place must neither be, nor be inside of, nor hold.
    """
    if source is not None:
        target, origin = place.resolve(), source.resolve()
        if target == origin or origin in target.parents or target in origin.parents:
            raise error(f"{place} is {source} itself, or is inside it, or holds it. Choose another place.")
    if _aside(place).exists():
        with suppress(OSError), locked(_scratch(place), place, error):
            _finish_replacement(place)
    if not (place.exists() or place.is_symlink()):
        return
    if not overwrite:
        raise error(f"{place} exists already. Choose another place, or set `overwrite=True`.")
    if not replaceable(place):
        raise error(f"{place} is not {what}, so it is not overwritten. Choose another place.")
