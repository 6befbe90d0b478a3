from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixnet.safe.names import as_text, file_name

HOSTILE = [
    "/etc/passwd",
    "..",
    ".",
    "../../a",
    "a/b",
    "a\\b",
    "C:\\a",
    "a\0b",
    "\udcff",
    "",
    " ",
    "con",
    "NUL.txt",
    "a" * 300,
    "-rf",
]


@pytest.mark.parametrize("name", ["C3", "donor A", "MOB-1_2.a", "Maus ä", "切片1", "sample (2)"])
def test_usual_names_stay(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_any_name_is_inside_its_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{file_name(name)}.field"
    path.write_text("here")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.resolve().parent == tmp_path.resolve()


def test_other_names_give_other_files() -> None:
    names = [*HOSTILE, "%2E%2E", "..%", "a" * 301, "%", "%63on"]
    assert len({file_name(name) for name in names}) == len(names)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(), max_size=200), st.text(alphabet=st.characters(), max_size=200))
def test_a_name_of_a_file_is_short_and_one_to_one(first: str, second: str) -> None:
    made = file_name(first)
    assert 0 < len(os.fsencode(made)) <= 120
    assert not set(made) & set('/\\\0:*?"<>|')
    assert made not in (".", "..")
    assert (made == file_name(second)) == (first == second)


def test_names_of_files_as_text() -> None:
    assert as_text(os.fsdecode(b"slide-\xff.png")) == r"slide-\xff.png"
    assert as_text(Path("Gewebe ä")) == "Gewebe ä"
    as_text("\ud800 \0 \udc41").encode()
