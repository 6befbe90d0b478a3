"""A field that is being built: in a locked folder beside its place, with a log of the finished blocks.

The folder `NAME.partial` holds the growing `store`, and `log.jsonl`: a line with what the field is made from, and one
per finished block with the hashes of its files. What a line names is on the disk before the line is. When the store is
complete, it is renamed to `NAME`. So a field under `NAME` is always complete, and what a killed process or a power
failure leaves can be continued.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic

from pixnet.digest import file_digest, sealed, unsealed
from pixnet.errors import FieldError, PixNetWarning
from pixnet.files import check_place, put_in_place, replacing, sync
from pixnet.lock import locked

Facts = dict[str, Any]
"""What a field is made from, as JSON values."""

_Shard = Annotated[str, pydantic.Field(pattern=r"^[a-z]+/\d+/c(/\d+)+$")]


class _Line(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    exponent: tuple[int | None, ...]  # of the channels' scales, as far as they are known


class _Begun(_Line):
    """First line of the log: what the field is made from."""

    facts: Facts


class BlockLine(_Line):
    """A finished block: its number, failed reads, whether it holds data, and the hashes of its files by their paths."""

    block: int
    failed: int
    holds_data: bool
    files: dict[_Shard, str]


Line = TypeVar("Line", bound=_Line)


class Unfinished:
    """An unfinished field that only this process may write. Made by `claimed`.

    `store` is the folder of the growing store, and `blocks` the lines of the finished blocks, in order.
    """

    def __init__(self, out: Path, folder: Path, facts: Facts) -> None:
        self._out = out
        self._folder = folder
        self._facts = facts
        self._log = folder / "log.jsonl"
        self._first: _Begun | None = None
        self.store = folder / "store"
        self.blocks: list[BlockLine] = []

    @property
    def exponent(self) -> tuple[int | None, ...]:
        """Exponents of the scales after the last finished block."""
        if self.blocks:
            return self.blocks[-1].exponent
        return self._first.exponent if self._first else ()

    def begin(self, create: Callable[[Path], None], exponent: Sequence[int | None]) -> None:
        """Create the store's arrays by `create`, and begin the log unless the field was begun before.

        The arrays' metadata and the head are written again in any case, since they may have been damaged.
        """
        fresh = self._folder / "fresh"
        create(fresh)
        for file in [path for path in fresh.rglob("*") if path.is_file()]:
            target = self.store / file.relative_to(fresh)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
        shutil.rmtree(fresh)
        if self._first is None:
            self._first = _Begun(facts=self._facts, exponent=tuple(exponent))
            self._append(self._first)
            sync(self._folder)

    def note(self, block: int, exponent: Sequence[int | None], failed: int, holds_data: bool, paths: set[str]) -> None:
        """Add a line to the log for a block that was written to files of the store, `paths`."""
        for folder in {parent for path in paths for parent in Path(path).parents}:
            sync(self.store / folder)
        hashes = {}
        for path in sorted(paths):
            sync(self.store / path)
            hashes[path] = file_digest(self.store / path)
        line = BlockLine(block=block, failed=failed, holds_data=holds_data, exponent=tuple(exponent), files=hashes)
        self._append(line)
        self.blocks.append(line)

    def clear(self) -> None:
        """Delete what was built, but keep the lock."""
        self._log.unlink(missing_ok=True)
        shutil.rmtree(self.store, ignore_errors=True)
        self._first, self.blocks = None, []

    def finish(self) -> None:
        """Move the complete store to its place, and delete the field that was there."""
        put_in_place(self.store, self._out, aside=self._folder / "old")
        self.clear()

    def resume(self, resume: bool) -> None:
        """Go on from what is there, if the field was begun from the same facts and this is wanted.

        Blocks whose files or line of the log are damaged are left out, and computed again.
        """
        lines = self._log.read_bytes().split(b"\n") if self._log.is_file() else [b""]
        # A process killed before the first line was complete has left nothing of use.
        if len(lines) == 1:
            self.clear()
            return
        if not resume:
            raise FieldError(
                f"{self._folder} holds an unfinished field. Continue it with `resume=True`, or discard it with "
                "`overwrite=True`."
            )
        begun = _read(_Begun, lines[0])
        if begun is None:
            raise FieldError(f"{self._log} is damaged or of another version. Discard it with `overwrite=True`.")
        self._check_same(begun.facts)
        self._first = begun
        noted = (_read(BlockLine, line) for line in lines[1:-1])
        self.blocks = [line for line in noted if line and self._is_whole(line)]
        if lost := len(lines) - 2 - len(self.blocks):
            warnings.warn(
                f"{self._folder}: {lost} of {len(lines) - 2} finished blocks are damaged and are computed again.",
                PixNetWarning,
                stacklevel=2,
            )
        with replacing(self._log) as partial:
            partial.write_bytes(b"".join(map(_text, [begun, *self.blocks])))
        self._delete_all_but({path for line in self.blocks for path in line.files})

    def _append(self, line: _Line) -> None:
        with self._log.open("ab") as file:
            file.write(_text(line))
            file.flush()
            os.fsync(file.fileno())

    def _is_whole(self, line: BlockLine) -> bool:
        """Return whether all files of a block have the bytes that were written."""
        files = {self.store / path: written for path, written in line.files.items()}
        return all(file.is_file() and file_digest(file) == written for file, written in files.items())

    def _delete_all_but(self, paths: set[str]) -> None:
        """Delete the store's files but those given: they were not finished, and parts of them must not be used."""
        for file in [path for path in self.store.rglob("*") if path.is_file()]:
            if file.relative_to(self.store).as_posix() not in paths:
                file.unlink()

    def _check_same(self, begun: Facts) -> None:
        """Check that the unfinished field was begun from the same facts."""
        for key, now in self._facts.items():
            if begun.get(key) != now:
                raise FieldError(
                    f"{self._folder} was begun with another {key} ({begun.get(key)!r}, now {now!r}). Resume with the "
                    "same slide, model and options, or discard it with `overwrite=True`."
                )


def _text(line: _Line) -> bytes:
    return json.dumps(sealed(line.model_dump())).encode() + b"\n"


def _read(kind: type[Line], text: bytes) -> Line | None:
    """Return a line of the log, or None if it is damaged."""
    facts = unsealed(text)
    if facts is None:
        return None
    try:
        return kind.model_validate(facts)
    except pydantic.ValidationError:
        return None


@contextmanager
def claimed(out: Path, facts: Facts, *, resume: bool, overwrite: bool) -> Iterator[Unfinished]:
    """Lock the place where a field is built from `facts`, and yield the unfinished field; see `build_field`.

    After an error that another attempt would meet again (a `FieldError`, a `ValueError`), everything is deleted, unless
    an earlier attempt finished blocks. After any other, such as a full disk, the finished blocks remain and can be
    continued.
    """
    folder = partial_folder(out)
    # The process that began the field was allowed to overwrite what is there.
    allowed = overwrite or (resume and (folder / "log.jsonl").is_file())
    check_place(out, FieldError, what="an expression field", replaceable=_may_be_field, overwrite=allowed)
    try:
        with locked(folder, out, FieldError):
            unfinished = Unfinished(out, folder, facts)
            if overwrite and not resume:
                unfinished.clear()
            unfinished.resume(resume)
            continued = bool(unfinished.blocks)
            try:
                yield unfinished
            except (FieldError, ValueError):
                if not continued:
                    unfinished.clear()
                raise
            finally:
                if not unfinished.blocks:
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
