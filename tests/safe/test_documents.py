from __future__ import annotations

import os
from pathlib import Path

import pytest

from pixnet.errors import DataError
from pixnet.safe.documents import parse_json, parse_toml, read_bytes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100 + "]" * 100, "nested more than 64 deep"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": -Infinity}', "holds -Infinity"),
        ('{"a": 1e999}', "not finite"),
        ('{"a": ' + "9" * 30 + "}", "beyond 64 bits"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ('{"a": "\\u0000"}', "holds a NUL"),
        ('{"\\ud800": 1}', "is not Unicode"),
        ("{", "Expecting"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_json_that_cannot_be_used(text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 3000, "nested too deeply"),
        ("a = " + "[" * 100 + "]" * 100, "nested more than 64 deep"),
        ("a = " + "9" * 5000, "digits"),
        ("a = " + "9" * 30, "beyond 64 bits"),
        ("a = nan", "not finite"),
        ("a = inf", "not finite"),
        ('a = "\\u0000"', "holds a NUL"),
        (".".join("a" * 20_000) + " = 1", "more than 64 parts"),
        ("[" + " . ".join('"a"' for _ in range(100)) + "]", "more than 64 parts"),
    ],
)
def test_toml_that_cannot_be_used(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_toml(text)


def test_usual_documents_are_read() -> None:
    assert parse_json('\ufeff{"a": [1, 2.5, "ä", null, true]}'.encode()) == {"a": [1, 2.5, "ä", None, True]}
    assert parse_json('{"a": NaN}', finite=False).keys() == {"a"}
    assert parse_toml('[[sample]]\nid = "a"\nmatrix = [[1, 0], [0, 1]]') == {
        "sample": [{"id": "a", "matrix": [[1, 0], [0, 1]]}]
    }


def test_what_is_not_a_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "large").write_bytes(bytes(100))
    for name in ("pipe", "zero", "", "a\0b"):
        with pytest.raises(DataError, match="cannot be read"):
            read_bytes(tmp_path / name, DataError)
    with pytest.raises(DataError, match="is larger than"):
        read_bytes(tmp_path / "large", DataError, most=99)
