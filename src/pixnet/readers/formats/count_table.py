"""Tables of counts as text: a row for each place, a column for each gene, delimited by tabs, commas or semicolons."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.text import delimiter_of, numbers, read_text

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


def read_counts(path: Path) -> tuple[list[str], list[str], sparse.csr_matrix, list[str]]:
    """Read a table of counts, plain or gzipped: row names, gene names, counts, and names of the rows left out.

    The counts are float64 CSR, shape (rows, genes). The first line names the genes, with or without an entry above the
    row names. The table is read row by row, so that only the values of a wide table that are not zero are in memory.
    Rows with a missing value are left out.
    """
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path}: the file is empty. Give a table with a row for each spot and a column for each gene.")
    if len(lines) == 1:
        raise DataError(f"{path}: has a header but no rows of counts.")
    delimiter = delimiter_of(lines[0])
    header = _cells(path, lines[0], delimiter)
    end = len(header) - 1 if len(header) > 1 and not header[-1].strip() else None  # each line ends with a delimiter
    header = header[:end]
    width = len(_cells(path, lines[1], delimiter)[:end])
    if width < 2 or len(header) not in (width, width - 1):
        raise DataError(
            f"{path}: its header has {len(header)} entries and its first row {width}. "
            "Give a tab-separated table with a row for each spot and a column for each gene."
        )
    genes = header[1:] if len(header) == width else header
    names: list[str] = []
    incomplete: list[str] = []
    starts, columns, values = [0], [], []
    for number, line in enumerate(lines[1:], start=2):
        name, *row = _cells(path, line, delimiter)[:end]
        if len(row) != len(genes):
            raise DataError(
                f"{path}: line {number} has {len(row)} counts for {len(genes)} genes. The file may be truncated."
            )
        counts = _row(path, name, genes, row)
        if counts is None:
            incomplete.append(name)
            continue
        nonzero = np.flatnonzero(counts)
        names.append(name)
        columns.append(nonzero)
        values.append(counts[nonzero])
        starts.append(starts[-1] + len(nonzero))
    if 2 * len(incomplete) > len(lines) - 1:
        raise DataError(
            f"{path}: {len(incomplete)} of {len(lines) - 1} rows, such as {incomplete[0][:40]!r}, have missing values. "
            "Give raw counts: whole numbers from 0 upwards."
        )
    matrix = sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(columns), np.array(starts)), shape=(len(names), len(genes))
    )
    return names, genes, matrix, incomplete


def _lines(path: Path) -> list[str]:
    lines = (line.rstrip("\r") for line in read_text(path).split("\n"))
    return [line for line in lines if line.strip("\t ,;")]


def _cells(path: Path, line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path}: has a line that is not a row of a table ({first_line(error)}).") from error


def _row(path: Path, name: str, genes: list[str], entries: list[str]) -> NDArray[np.float64] | None:
    """Return a row as numbers, None if one is missing; the error names the first entry that is not a count."""
    try:
        # `numbers` is strict about "1_1", but takes ten times as long.
        counts = numbers(entries) if "_" in "".join(entries) else np.fromiter(map(float, entries), float, len(entries))
    except ValueError:
        counts = numbers(entries)
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~np.isfinite(counts) | (counts < 0) | (counts != np.floor(counts)))
    wrong = next((place for place in bad if entries[place].strip().lower() not in _MISSING), None)
    if wrong is not None:
        raise DataError(
            f"{path}: spot {name[:40]!r} has {entries[wrong][:40]!r} of gene {genes[wrong]!r}. "
            "Give raw counts: whole numbers from 0 upwards."
        )
    return None if len(bad) else counts
