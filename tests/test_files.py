from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixnet import files
from pixnet.files import check_place, put_in_place, replacing, replacing_entries, write_whole, writing_beside


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write_file(path: Path, text: str) -> None:
    with writing_beside(path) as partial:
        partial.write_text(text)


def write_folder(path: Path, text: str) -> None:
    with writing_beside(path) as partial:
        partial.mkdir()
        (partial / "one").write_text(text)


def test_a_text_is_written_in_utf_8(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", "µm")
    write_whole(tmp_path / "a.json", "µm²")
    assert (tmp_path / "a.json").read_bytes() == "µm²".encode()
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("write", [replacing, writing_beside])
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
    with replacing(tmp_path / "a", sync=True) as partial:
        partial.write_text("all")
    assert calls == ["fsync", "replace"]
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
    with pytest.raises(FileNotFoundError), writing_beside(tmp_path / "a"):
        pass  # writes nothing, so there is nothing to rename
    assert contents(tmp_path) == {"a/one": "good"}
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "missing", tmp_path / "a", tmp_path / "aside")
    assert contents(tmp_path) == {"a/one": "good"}


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("good")
    with pytest.raises(NotADirectoryError):
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
with replacing(Path("a")) as file, writing_beside(Path("b")) as folder:
    file.write_text("half")
    folder.mkdir()
    (folder / "one").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", work], cwd=tmp_path)  # noqa: S603  the program above
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "good"
    assert contents(tmp_path / "b") == {"one": "good"}


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


def test_the_entry_that_marks_a_folder_as_complete_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results").write_text("old")
    (out / "table").write_text("old")

    def fail(new: Path, old: Path) -> None:
        raise OSError("no space")

    def replace() -> None:
        with replacing_entries(out, ("table", "results")) as partial:
            (partial / "table").write_text("new")
            (partial / "results").write_text("new")
            monkeypatch.setattr(files.os, "replace", fail)

    with pytest.raises(OSError, match="no space"):
        replace()
    assert not (out / "results").exists()


def test_a_new_folder_without_entries_is_deleted_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing_entries(tmp_path / "out", ("results",)):
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
