"""Writing files and folders so that they are complete or absent.

Everything is written beside its place and renamed into it, so a kill, an error or a full disk leaves what was there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8, complete or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Yield the path `NAME.part` to write a file to, and rename it to `path` if nothing fails; its folder must exist.

    With `sync`, the content is on the disk before the file is renamed, so that it also survives a power failure.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        yield partial
        if sync:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def writing_beside(place: Path, error: type[Exception] | None = None) -> Iterator[Path]:
    """Yield a path in a temporary folder beside a place; move the file or folder written there to the place.

    Missing parent folders are created. The temporary folder may hold scratch files too. It is deleted in the end.
    An `error` is raised in place of an OSError.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as temporary:
            partial = Path(temporary) / place.name
            yield partial
            put_in_place(partial, place, aside=Path(temporary) / "old")
    except OSError as problem:
        if error is None:
            raise
        reason = problem.strerror or problem
        raise error(f"{place} cannot be written ({reason}). Fix the problem and try again.") from problem


def put_in_place(new: Path, place: Path, aside: Path) -> None:
    """Rename a complete file or folder to its place, on the same file system, where a file is replaced.

    A folder at the place is moved to `aside` first. It is moved back if `new` cannot be renamed.
    """
    if not place.is_dir():
        os.replace(new, place)
        return
    try:
        os.replace(place, aside)
        os.replace(new, place)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(place):
            os.replace(aside, place)
        raise


@contextmanager
def replacing_entries(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield a folder inside `folder`; move what is written there into `folder` if nothing fails.

    `folder` is created, and deleted again if it is new and nothing was written. The files and folders `names` are
    replaced or, where no new one was written, deleted; everything else remains. The last one marks the folder as
    complete: it is deleted first and moved last.
    """
    existed = folder.exists()
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        (folder / names[-1]).unlink(missing_ok=True)
        for name in names:
            old, new = folder / name, partial / name
            if old.is_dir():
                shutil.rmtree(old)
            old.unlink(missing_ok=True)
            if new.exists():
                os.replace(new, old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not existed and not any(folder.iterdir()):
            folder.rmdir()


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
    if not (place.exists() or place.is_symlink()):
        return
    if not overwrite:
        raise error(f"{place} exists already. Choose another place, or set `overwrite=True`.")
    if not replaceable(place):
        raise error(f"{place} is not {what}, so it is not overwritten. Choose another place.")
