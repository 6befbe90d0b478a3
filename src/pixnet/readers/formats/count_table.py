"""Tables of counts as tab-separated text: a row for each place, a column for each gene."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError


def read_counts(path: Path) -> tuple[list[str], list[str], sparse.csr_matrix]:
    """Read a TSV of counts, plain or gzipped.

    It is read row by row, so that only the values of a wide table that are not zero are in memory.

    Parameters
    ----------
    path
        The file. Its first line names the genes (with or without an entry above the row names).

    Returns
    -------
    names, genes, counts
        Row names, gene names, and the counts as float64 CSR, shape (rows, genes).

    Raises
    ------
    DataError
        If the file is missing, truncated or not such a table, or has a gene twice, an entry that is not a number, or a
        count that is negative, fractional or not finite.
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
    _check_genes(path, genes)
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
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not a text file ({error.reason} at byte {error.start}). Give a TSV file, plain or gzipped."
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip file is damaged or truncated ({error}). Copy or download it again."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Give the path of the counts file."
        ) from error
    return [line.rstrip("\r") for line in text.split("\n") if line.strip("\r\t ")]


def _check_genes(path: Path, genes: list[str]) -> None:
    seen: set[str] = set()
    for gene in genes:
        if gene in seen:
            raise DataError(f"{path}: the gene {gene!r} has more than one column. Leave one column for each gene.")
        seen.add(gene)


def _row(path: Path, name: str, genes: list[str], entries: list[str]) -> NDArray[np.float64]:
    """Return a row as numbers; the error names the first entry that is not a count."""
    try:
        numbers = np.fromiter(map(float, entries), np.float64, len(entries))
    except ValueError:
        numbers = np.array([_number(entry) for entry in entries])
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~np.isfinite(numbers) | (numbers < 0) | (numbers != np.floor(numbers)))
    if len(bad):
        raise DataError(
            f"{path}: spot {name[:40]!r} has {entries[bad[0]][:40]!r} of gene {genes[bad[0]]!r}. "
            "Give raw counts: whole numbers from 0 upwards."
        )
    return numbers


def _number(entry: str) -> float:
    try:
        return float(entry)
    except ValueError:
        return float("nan")
