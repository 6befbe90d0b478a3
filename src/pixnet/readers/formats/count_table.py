"""Tables of counts as tab-separated text: a row for each place, a column for each gene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.formats.files import read_plain_or_gzip


def read_counts(path: Path) -> tuple[list[str], list[str], sparse.csr_matrix]:
    """Read a TSV of counts, plain or gzipped: row names, gene names, and float64 CSR, shape (rows, genes).

    The first line names the genes, with or without an entry above the row names. The table is read row by row, so that
    only the values of a wide table that are not zero are in memory.
    """
    lines = _lines(path)
    if not lines:
        raise DataError(
            f"{path}: the file is empty. Give a TSV file with a row for each spot and a column for each gene."
        )
    header = lines[0].split("\t")
    rows = lines[1:]
    if not rows:
        raise DataError(f"{path}: has a header but no rows of counts.")
    width = rows[0].count("\t") + 1
    if width < 2 or len(header) not in (width, width - 1):
        raise DataError(
            f"{path}: its header has {len(header)} entries and its first row {width}. "
            "Give a tab-separated table with a row for each spot and a column for each gene."
        )
    genes = header[1:] if len(header) == width else header
    repeated = pd.Index(genes)[pd.Index(genes).duplicated()]
    if len(repeated):
        raise DataError(f"{path}: the gene {repeated[0]!r} has more than one column. Leave one column for each gene.")
    names: list[str] = []
    starts, columns, values = [0], [], []
    for number, line in enumerate(rows, start=2):
        name, *row = line.split("\t")
        if len(row) != len(genes):
            raise DataError(
                f"{path}: line {number} has {len(row)} counts for {len(genes)} genes. The file may be truncated."
            )
        numbers = _row(path, name, genes, row)
        nonzero = np.flatnonzero(numbers)
        names.append(name)
        columns.append(nonzero)
        values.append(numbers[nonzero])
        starts.append(starts[-1] + len(nonzero))
    matrix = sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(columns), np.array(starts)), shape=(len(names), len(genes))
    )
    return names, genes, matrix


def _lines(path: Path) -> list[str]:
    try:
        text = read_plain_or_gzip(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not a text file ({error.reason} at byte {error.start}). Give a TSV file, plain or gzipped."
        ) from error
    return [line.rstrip("\r") for line in text.split("\n") if line.strip("\r\t ")]


def _row(path: Path, name: str, genes: list[str], entries: list[str]) -> NDArray[np.float64]:
    """Return a row as numbers; the error names the first entry that is not a count."""
    try:
        numbers = np.fromiter(map(float, entries), np.float64, len(entries))
    except ValueError:
        numbers = pd.to_numeric(pd.Series(entries), errors="coerce").to_numpy(np.float64)
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~np.isfinite(numbers) | (numbers < 0) | (numbers != np.floor(numbers)))
    if len(bad):
        raise DataError(
            f"{path}: spot {name[:40]!r} has {entries[bad[0]][:40]!r} of gene {genes[bad[0]]!r}. "
            "Give raw counts: whole numbers from 0 upwards."
        )
    return numbers
