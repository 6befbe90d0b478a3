"""Tables of a Xenium run: parquet files, read in batches of rows, and the CSV files that older runs have instead."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.declared import check_rows

_ROWS = 1 << 18  # of a batch


def parquet_columns(path: Path) -> list[str]:
    """List the columns of a parquet file.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except _damage() as error:
        raise _unreadable(path, error) from error


def parquet_batches(path: Path, numbers: Sequence[str], texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Read columns of a parquet file in batches of rows.

    Parameters
    ----------
    path
        The file.
    numbers
        Columns to read as float64; NaN where a value is missing.
    texts
        Columns to read as a list of the distinct texts, and for each row the place of its text in the list; a place
        beyond the end of the list means that it is missing. Bytes, whole numbers and categories are read as texts.

    Yields
    ------
    dict
        Column to values.

    Raises
    ------
    DataError
        If the file is missing or damaged, or has no such columns.
    """
    import pyarrow.parquet as pq

    present = parquet_columns(path)
    missing = [name for name in (*numbers, *texts) if name not in present]
    if missing:
        raise DataError(
            f"{path}: has no column {missing[0]!r}; found {', '.join(map(repr, present[:12]))[:200]}. Give the file "
            "that the run wrote."
        )
    try:
        with pq.ParquetFile(path) as file:
            check_rows(path, file.metadata)
            batches = file.iter_batches(_ROWS, columns=[*numbers, *texts])
            while (batch := next(batches, None)) is not None:
                table: dict[str, Any] = {name: _numbers(batch.column(name)) for name in numbers}
                table |= {name: _texts(batch.column(name)) for name in texts}
                yield table
    except _damage() as error:
        raise _unreadable(path, error) from error


def vertices_of_csv(path: Path) -> dict[str, Any]:
    """Read the vertices of outlines from a CSV file, plain or compressed.

    Returns
    -------
    dict
        As from `parquet_batches`, but all rows at once: `vertex_x`, `vertex_y`, and `label_id` if the file has it, as
        numbers; `cell_id` as texts.

    Raises
    ------
    DataError
        If the file is missing or damaged, or has no such columns.
    """
    try:
        table = pd.read_csv(path, dtype={"cell_id": str})
        code, names = pd.factorize(table["cell_id"])
        columns = [name for name in ("vertex_x", "vertex_y", "label_id") if name in table or name != "label_id"]
        numbers: dict[str, Any] = {name: table[name].to_numpy(np.float64) for name in columns}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}). Copy it again.") from error
    except KeyError as error:
        raise DataError(f"{path}: has no column {error}; it needs cell_id, vertex_x and vertex_y.") from error
    except (ValueError, EOFError, zlib.error, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is not a table of vertices ({first_line(error)}). Copy it again.") from error
    return {**numbers, "cell_id": (list(names), np.where(code < 0, len(names), code))}


def _numbers(column: Any) -> NDArray[np.float64]:
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _texts(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    import pyarrow as pa

    coded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
    kinds = coded.dictionary
    # Texts are read as bytes, so that one damaged letter does not hide the rest.
    if pa.types.is_string(kinds.type) or pa.types.is_large_string(kinds.type):
        kinds = kinds.cast(pa.large_binary())
    values = kinds.to_pylist()
    names = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
    return names, np.asarray(coded.indices.cast(pa.int64()).fill_null(len(names)), np.int64)


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = "no such file" if not path.exists() else first_line(error)
    return DataError(f"{path}: cannot be read as a parquet file ({reason}). Copy it from the run again.")


def _damage() -> tuple[type[Exception], ...]:
    """Return all errors that pyarrow raises for a file that is missing, damaged or has columns of other types."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError, MemoryError)
