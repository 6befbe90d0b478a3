"""Text as people have it: with or without a byte order mark, in UTF-8 or UTF-16, with tabs, commas or semicolons.

Nothing is guessed that would read letters or numbers wrongly: a file in another encoding is named as such.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.files import read_plain_or_gzip
from pixnet.readers.formats.kinds import kind_of_bytes

DELIMITERS = ("\t", ",", ";")

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, most: int | None = None) -> str:
    """Read a text file, plain or gzipped, of at most `most` bytes; a DataError says what it is if it is no text."""
    return decoded(path, read_plain_or_gzip(path, most))


def decoded(path: Path, data: bytes) -> str:
    """Return the text of a file's bytes in UTF-8, or in UTF-16 or UTF-32 with a byte order mark."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {_not_decoded(data, encoding, error)}") from error
    if "\0" in text:
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


def delimiter_of(header: str, wanted: Iterable[str] = ()) -> str:
    """Return the delimiter of a table by its first line: the one that finds most wanted columns, then most columns."""
    wanted = set(wanted)
    return max(DELIMITERS, key=lambda mark: (len(wanted & set(cells(header, mark))), header.count(mark)))


def cells(line: str, delimiter: str) -> list[str]:
    """Return the cells of one line, without quotes around them."""
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]


def text_table(path: Path, text: str, wanted: Sequence[str], header: bool = True) -> pd.DataFrame:
    """Return a table as texts, in columns named by its first line if `header`, whatever delimits its cells.

    A line that has too few cells is filled up with empty ones. `wanted` are columns that tell the delimiter.
    """
    lines = text.split("\n", 1)[0]
    delimiter = delimiter_of(lines.rstrip("\r"), wanted)
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            header=0 if header else None,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (ValueError, OverflowError, EOFError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is not a table of text ({first_line(error)}).") from error
    table = table.fillna("")
    if header:
        table.columns = pd.Index([str(name).strip() for name in table.columns])
    return table


def numbers(entries: Sequence[str] | pd.Series) -> NDArray[np.float64]:
    """Return texts as numbers, NaN for what is not a finite number.

    Python itself would take "1_1" for 11, which is a place of a merged table and no number.
    """
    values = pd.to_numeric(pd.Series(entries), errors="coerce").to_numpy(np.float64)
    return np.where(np.isfinite(values), values, np.nan)
