"""Text as people have it: with or without a byte order mark, in UTF-8 or UTF-16, with tabs, commas or semicolons.

Nothing is guessed that would read letters or numbers wrongly: a file in another encoding is named as such.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.encoding import decoded
from pixnet.readers.formats.files import read_plain_or_gzip

DELIMITERS = ("\t", ",", ";")


def read_text(path: Path, most: int | None = None) -> str:
    """Read a text file, plain or gzipped, of at most `most` bytes; a DataError says what it is if it is no text.

    Its lines end with a line feed, whichever system wrote them.
    """
    return decoded(path, read_plain_or_gzip(path, most)).replace("\r\n", "\n").replace("\r", "\n")


def delimiter_of(header: str, wanted: Iterable[str] = ()) -> str:
    """Return the delimiter of a table by its first line: the one that finds most wanted columns, then most columns."""
    wanted = set(wanted)
    return max(DELIMITERS, key=lambda mark: (len(wanted & set(cells(header.lower(), mark))), header.count(mark)))


def cells(line: str, delimiter: str) -> list[str]:
    """Return the cells of one line, without quotes around them."""
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]


def header_of(text: str, known: Sequence[str]) -> tuple[list[str], str]:
    """Return the cells of the first line, and the text from there on; comments (`# ...`) before it are skipped.

    `known` are names of columns in small letters; cells that are one of them are returned as such, however written.
    """
    first, _, rest = text.partition("\n")
    names = [name if name.lower() not in known else name.lower() for name in cells(first, delimiter_of(first, known))]
    return header_of(rest, known) if first.startswith("#") and rest and not set(names) & set(known) else (names, text)


def text_table(path: Path, text: str, known: Sequence[str], header: bool = True) -> pd.DataFrame:
    """Return a table as texts, in columns named by its first line if `header`, whatever delimits its cells.

    A line that has too few cells is filled up with empty ones. `known` are names of columns, in small letters, that
    tell the delimiter and may be written in any.
    """
    names, text = header_of(text, known)
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=delimiter_of(text.split("\n", 1)[0], known),
            header=0 if header else None,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (ValueError, OverflowError, EOFError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is not a table of text ({first_line(error)}).") from error
    table = table.fillna("")
    return table.set_axis(names[: len(table.columns)], axis=1) if header else table


def numbers(entries: Sequence[str] | pd.Series) -> NDArray[np.float64]:
    """Return texts as numbers, with a decimal point or comma; NaN for what is not a finite number.

    Python itself would take "1_1" for 11, which is a place of a merged table and no number. Where all commas have three
    digits after them, they may stand for thousands, and nothing is guessed.
    """
    texts = pd.Series(entries)
    values = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    if np.isnan(values).any() and (texts := texts.astype(str).str.strip()).str.contains(",").any():
        with_comma = texts.str.fullmatch(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?").to_numpy(bool)
        if not texts[with_comma].str.fullmatch(r".*,\d{3}").all():
            decimals = texts.where(with_comma, "").str.replace(",", ".")
            values = np.where(with_comma, pd.to_numeric(decimals, errors="coerce"), values)
    return np.where(np.isfinite(values), values, np.nan)
