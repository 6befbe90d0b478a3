"""JSON and TOML of bounded size and depth, whose texts and numbers everything else can hold.

The parsers of the standard library accept lists that are nested a thousand times, infinite numbers, and texts that
cannot be written as UTF-8. Each of these fails much later, where nobody expects it.
"""

from __future__ import annotations

import json
import math
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from pixnet.errors import PixNetError, first_line

MOST_BYTES = 64 << 20
_DEEPEST = 64
_LARGEST = 2**64
# A key of thousands of parts makes tomllib use memory that grows with their square.
_LONG_KEY = re.compile(rf"(?:[\w\"'-]+[ \t]*\.[ \t]*){{{_DEEPEST}}}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_bytes(path: Path, error: type[PixNetError], most: int = MOST_BYTES) -> bytes:
    """Read a regular file of at most `most` bytes; a device or a pipe would have no end.

    Raises `error`, or FileNotFoundError if there is no such file.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise error(f"{path}: cannot be read: it is not a file. Give the path of the file itself.")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as problem:  # a path with a NUL is a ValueError
        raise error(f"{path}: cannot be read ({first_line(problem)}). Check its path and permissions.") from problem
    if len(data) > most:
        raise error(f"{path}: is larger than {most >> 20} MiB, so it is not a file of this kind.")
    return data


def parse_json(data: str | bytes, finite: bool = True) -> Any:
    """Return the value of a JSON text; ValueError says what is wrong with it, in a few words.

    With `finite`, numbers must be finite, as JSON itself demands.
    """
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        value = json.loads(text, parse_constant=_no_constant if finite else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {first_line(error)}") from None
    check_plain(value, finite)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML text; ValueError says what is wrong with it, in a few words."""
    if _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {_DEEPEST} parts")
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_plain(value)
    return value


def check_plain(value: Any, finite: bool = True) -> None:
    """Check that nested lists and dictionaries are not too deep, and hold numbers and texts that can be used.

    ValueError is raised for a text with a NUL byte or half of a surrogate pair and, if `finite`, for a number that is
    not finite and a whole number beyond 64 bits.
    """
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, dict | list):
            if depth >= _DEEPEST:
                raise ValueError(f"it is nested more than {_DEEPEST} deep")
            if isinstance(item, dict):
                for key in item:
                    _check_text(key)
            waiting.extend((part, depth + 1) for part in (item.values() if isinstance(item, dict) else item))
        elif isinstance(item, str):
            _check_text(item)
        elif finite and isinstance(item, int) and abs(item) >= _LARGEST:
            raise ValueError("it holds a whole number beyond 64 bits")
        elif finite and isinstance(item, float) and not math.isfinite(item):
            raise ValueError("it holds a number that is not finite")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError(f"the text {text[:40]!r} holds a NUL")
    if _SURROGATE.search(text):
        raise ValueError(f"the text {text[:40]!r} is not Unicode")


def _no_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is not a finite number")
