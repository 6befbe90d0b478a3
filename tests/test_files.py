from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pixnet import files
from pixnet.files import (
    check_place,
    finish_entries,
    put_in_place,
    read_note,
    replacing,
    replacing_entries,
    write_note,
    write_whole,
    writing_beside,
)
from pixnet.lock import locked


class Died(BaseException):
    """The process ends here."""


class Failure(Exception):  # noqa: N818
    """What is raised in place of an OSError."""


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write_file(path: Path, text: str) -> None:
    with writing_beside(path, Failure) as partial:
        partial.write_text(text)


def write_folder(path: Path, text: str) -> None:
    with writing_beside(path, Failure) as partial:
        partial.mkdir()
        (partial / "one").write_text(text)


def test_a_text_is_written_in_utf_8(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", "µm")
    write_whole(tmp_path / "a.json", "µm²")
    assert (tmp_path / "a.json").read_bytes() == "µm²".encode()
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("write", [replacing, partial(writing_beside, error=Failure)])
def test_what_was_there_remains_if_writing_fails(write: Any, error: type[BaseException], tmp_path: Path) -> None:
    def break_off() -> None:
        with write(tmp_path / "a") as partial:
            partial.write_text("half")
            raise error

    (tmp_path / "a").write_text("good")
    with pytest.raises(error):
        break_off()
    assert contents(tmp_path) == {"a": "good"}


def test_content_is_on_the_disk_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda number: (calls.append("fsync"), sync(number)))
    monkeypatch.setattr(files.os, "replace", lambda *paths: (calls.append("replace"), rename(*paths)))
    with replacing(tmp_path / "a") as unfinished:
        unfinished.write_text("all")
    assert calls == ["fsync", "replace", "fsync"]
    assert contents(tmp_path) == {"a": "all"}


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_new_file_or_folder_takes_the_place_of_the_old(write: Callable[[Path, str], None], tmp_path: Path) -> None:
    place = tmp_path / "new" / "a"
    for text in ("first", "second"):
        write(place, text)
        assert list(contents(tmp_path).values()) == [text]
    assert list(place.parent.iterdir()) == [place]


def test_a_folder_goes_back_if_the_new_one_cannot_be_renamed(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", "good")
    with pytest.raises(Failure, match="a cannot be written"), writing_beside(tmp_path / "a", Failure):
        pass  # writes nothing, so there is nothing to rename
    assert contents(tmp_path) == {"a/one": "good"}
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "missing", tmp_path / "a", tmp_path / "aside")
    assert contents(tmp_path) == {"a/one": "good"}


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("good")
    with pytest.raises(Failure, match="Not a directory"):
        write_folder(tmp_path / "a", "other")
    assert contents(tmp_path) == {"a": "good"}


def test_a_kill_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("good")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one").write_text("good")
    work = """
import os, signal, sys
from pathlib import Path
from pixnet.files import replacing, writing_beside
with replacing(Path("a")) as file, writing_beside(Path("b"), OSError) as folder:
    file.write_text("half")
    folder.mkdir()
    (folder / "one").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", work], cwd=tmp_path)  # noqa: S603  the program above
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "good"
    assert contents(tmp_path / "b") == {"one": "good"}


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    left = tmp_path / ".a.partial"
    left.mkdir()
    (left / "a").write_text("half")
    (left / ".lock").write_text("")
    write_file(tmp_path / "a", "good")
    assert contents(tmp_path) == {"a": "good"}
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("asked", ["check", "write"])
def test_a_replacement_that_was_broken_off_between_its_two_steps_is_finished(tmp_path: Path, asked: str) -> None:
    left, place = tmp_path / ".a.partial", tmp_path / "a"
    for name, text in (("a", "new"), ("a.old", "old")):
        (left / name).mkdir(parents=True)
        (left / name / "one").write_text(text)
    if asked == "check":
        with pytest.raises(Failure, match="exists already"):
            check_place(place, Failure, what="ours", replaceable=lambda _: True, overwrite=False)
    else:
        with pytest.raises(ZeroDivisionError), writing_beside(place, Failure):
            raise ZeroDivisionError
    assert contents(tmp_path) == {"a/one": "new"}
    assert list(tmp_path.iterdir()) == [place]


def test_only_one_process_writes_to_a_place(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from pixnet.files import writing_beside
with writing_beside(Path("a"), OSError) as place:
    place.write_text("first")
    print("here", flush=True)
    sys.stdin.readline()
"""
    child = subprocess.Popen(  # noqa: S603  the program above
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    with pytest.raises(Failure, match=rf"a is being written by process {child.pid} on .*\. Wait for it to end"):
        write_file(tmp_path / "a", "second")
    child.communicate("\n")
    assert contents(tmp_path) == {"a": "first"}
    write_file(tmp_path / "a", "second")
    assert contents(tmp_path) == {"a": "second"}


def test_files_that_threads_still_write_after_an_interrupt_are_swept_away(tmp_path: Path) -> None:
    def go_on(folder: Path) -> None:
        for number in range(20):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / str(number)).write_text("late")
            time.sleep(0.01)

    def interrupted() -> None:
        with writing_beside(tmp_path / "a", Failure) as unfinished:
            thread = threading.Thread(target=go_on, args=[unfinished])
            threads.append(thread)
            thread.start()
            time.sleep(0.05)
            raise KeyboardInterrupt

    threads: list[threading.Thread] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    threads[0].join()
    assert not list(tmp_path.iterdir())


def test_a_damaged_note_is_noticed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    assert read_note(note) is None
    write_note(note, {"steps": 3})
    assert read_note(note) == {"steps": 3}
    written = note.read_bytes()
    for damaged in (
        b"",
        b"\0" * 20,
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        written[:-3],
        written.replace(b"3", b"4", 1),
    ):
        note.write_bytes(damaged)
        assert read_note(note) is None


def test_entries_of_a_folder_are_replaced_together(tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = ("table", "parts", "results")
    with replacing_entries(out, names) as partial:
        assert partial.parent == out
        (partial / "parts").mkdir()
        (partial / "parts" / "one").write_text("1")
        (partial / "results").write_text("first")
    (out / "notes").write_text("mine")
    assert contents(out) == {"parts/one": "1", "results": "first", "notes": "mine"}
    with pytest.raises(ZeroDivisionError), replacing_entries(out, names) as partial:
        (partial / "results").write_text(str(1 / 0))
    assert contents(out) == {"parts/one": "1", "results": "first", "notes": "mine"}
    with replacing_entries(out, names) as partial:
        (partial / "table").write_text("2")
        (partial / "results").write_text("second")
    assert contents(out) == {"table": "2", "results": "second", "notes": "mine"}


@pytest.mark.parametrize("failing", range(6))
def test_entries_are_the_old_or_the_new_wherever_a_process_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    out, names = tmp_path / "out", ("gone", "table", "new", "results")
    out.mkdir()
    old = {"gone": "old", "table": "old", "results": "old", "notes": "mine"}
    for name, text in old.items():
        (out / name).write_text(text)
    steps = iter(range(100))
    replace, remove = os.replace, files._remove

    def die_or(step: Callable[..., None]) -> Callable[..., None]:
        def run(*paths: Path) -> None:
            if next(steps) == failing:
                raise Died
            step(*paths)

        return run

    def write() -> None:
        with replacing_entries(out, names) as unfinished:
            for name in ("table", "new", "results"):
                (unfinished / name).write_text("new")
            monkeypatch.setattr(files.os, "replace", die_or(replace))
            monkeypatch.setattr(files, "_remove", die_or(remove))

    with pytest.raises(Died):
        write()
    monkeypatch.undo()
    finish_entries(out, names)
    (out / ".partial").exists() and shutil.rmtree(out / ".partial")
    new = {"table": "new", "new": "new", "results": "new", "notes": "mine"}
    assert contents(out) == (old if failing == 0 else new)


def test_a_new_folder_without_entries_is_deleted_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError), locked(out, out, Failure), replacing_entries(out, ("results",)):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def check(place: Path, overwrite: bool, source: Path | None = None) -> None:
    def is_ours(path: Path) -> bool:
        return path.name == "ours"

    check_place(place, ValueError, what="one of ours", replaceable=is_ours, overwrite=overwrite, source=source)


def test_only_what_is_ours_is_overwritten_and_only_on_request(tmp_path: Path) -> None:
    ours, other, link = tmp_path / "ours", tmp_path / "other", tmp_path / "link"
    check(ours, overwrite=False)
    ours.write_text("")
    other.mkdir()
    link.symlink_to(tmp_path / "nowhere")
    check(ours, overwrite=True)
    with pytest.raises(ValueError, match=r"ours exists already. Choose another place, or set `overwrite=True`\.$"):
        check(ours, overwrite=False)
    for path in (other, link):
        with pytest.raises(ValueError, match=rf"{path.name} is not one of ours, so it is not overwritten"):
            check(path, overwrite=True)


def test_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "folder" / "ours"
    source.mkdir(parents=True)
    for place in (source, source.parent, source / "ours"):
        with pytest.raises(ValueError, match="is inside it, or holds it"):
            check(place, overwrite=True, source=source)
    check(source.parent / "beside", overwrite=True, source=source)
