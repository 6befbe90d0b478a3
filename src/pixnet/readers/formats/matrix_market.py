"""Matrix Market files of counts, checked line by line: scipy's own reader crashes on some damaged files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.files import open_plain_or_gzip
from pixnet.safe.budget import Budget

_ROWS = 1 << 22  # entries that are read at once
_ENTRY_BYTES = 24  # of an entry, in parts and once they are joined
_LONGEST_LINE = 1 << 12
_MOST_COMMENTS = 1000
_ENTRY = {"row": np.int64, "column": np.int64, "value": np.float64, "more": str}


def read_matrix_market(path: Path, shape: tuple[int, int]) -> sparse.csc_matrix:
    """Read integers or reals, plain or gzipped, as a float32 matrix; it must have the shape that its names give it."""
    try:
        with open_plain_or_gzip(path) as stream:
            entries = _entries(path, stream, shape)
            parts = _body(path, stream, shape, entries)
    except (OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: is not a Matrix Market file, or is truncated ({first_line(error)}). Copy it again."
        ) from error
    row, column, value = (np.concatenate([part[name] for part in parts]) for name in ("row", "column", "value"))
    return sparse.csc_matrix((value, (row, column)), shape=shape)


def _entries(path: Path, stream: Any, shape: tuple[int, int]) -> int:
    """Read the header, and return the number of entries that it declares."""
    banner = stream.readline(_LONGEST_LINE).decode("ascii", "replace").lower().split()
    kinds = (["%%matrixmarket", "matrix", "coordinate", kind, "general"] for kind in ("integer", "real"))
    if banner not in kinds:
        raise DataError(f"{path}: is not a Matrix Market file of counts; it begins with {' '.join(banner)[:80]!r}.")
    line = b"%"
    for _ in range(_MOST_COMMENTS):
        line = stream.readline(_LONGEST_LINE)
        if line.strip() and not line.startswith(b"%"):
            break
    rows, columns, entries = (int(part) for part in line.split())
    if (columns, rows) == shape and rows != columns:
        raise DataError(f"{path}: has a row for each barcode. Transpose it: a row for each feature is expected.")
    if (rows, columns) != shape:
        raise DataError(
            f"{path}: is {rows} x {columns}, but there are {shape[0]} features and {shape[1]} barcodes beside it."
        )
    Budget(path).check(_ENTRY_BYTES * entries, f"a matrix of {entries} entries")
    return entries


def _body(path: Path, stream: Any, shape: tuple[int, int], entries: int) -> list[dict[str, Any]]:
    """Read the entries, counted from 0; the first part is empty."""
    parts: list[dict[str, Any]] = [_part(pd.DataFrame({name: [] for name in _ENTRY}))]
    total = 0
    form: Any = {"sep": r"\s+", "header": None, "names": list(_ENTRY), "dtype": _ENTRY, "index_col": False}
    for table in pd.read_csv(stream, **form, chunksize=_ROWS) if entries else ():
        inside = table["row"].between(1, shape[0]) & table["column"].between(1, shape[1])
        if not inside.all() or table["more"].notna().any() or not np.isfinite(table["value"]).all():
            raise DataError(f"{path}: is damaged; an entry is outside the matrix, or is not a number. Copy it again.")
        parts.append(_part(table))
        total += len(table)
        if total > entries:
            break
    if total != entries:
        raise DataError(
            f"{path}: declares {entries} entries and holds {'more' if total > entries else total}. Copy it again."
        )
    return parts


def _part(table: pd.DataFrame) -> dict[str, Any]:
    place = {name: table[name].to_numpy(np.int32) - 1 for name in ("row", "column")}
    return {**place, "value": table["value"].to_numpy(np.float32)}
