"""The encoding of a text file: UTF-8, or another Unicode encoding with a byte order mark; others are named."""

from __future__ import annotations

import codecs
from pathlib import Path

from pixnet.errors import DataError
from pixnet.readers.formats.kinds import kind_of_bytes

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(path: Path, data: bytes) -> str:
    """Return the text of a file's bytes in UTF-8, or in UTF-16 or UTF-32 with a byte order mark."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {_not_decoded(data, encoding, error)}") from error
    if "\0" in text:
        if encoding == "utf-8" and text[1::2].count("\0") + text[::2].count("\0") > 0.4 * len(text):
            raise DataError(f"{path}: seems to be UTF-16 without a byte order mark. Save it again as UTF-8.")
        raise DataError(f"{path}: is not a text file: it is {kind_of_bytes(data) or 'binary'}.")
    return text


def _not_decoded(data: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    """Return what is wrong with bytes that are not text in the encoding, and the remedy."""
    kind = kind_of_bytes(data)
    if kind is not None or b"\0" in data or encoding != "utf-8":
        found = f"it is {kind}" if kind else f"{error.reason} at byte {error.start}"
        return f"is not a text file: {found}. Give a text file in UTF-8."
    line = data.count(b"\n", 0, error.start) + 1
    return (
        f"line {line} has the byte 0x{data[error.start]:02X}, which is not UTF-8; the file may be saved in an older "
        "encoding such as Windows-1252 (Latin-1). Save it again as UTF-8."
    )
