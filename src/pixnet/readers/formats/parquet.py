"""Parquet files whose columns and number of rows are checked before they are read, in batches if they are large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.files import check_columns

_ROWS = 1 << 18  # of a batch
_ROWS_PER_BYTE = 8  # of a table whose rows differ; usually a row takes several bytes


@contextmanager
def open_parquet(
    path: Path, columns: Sequence[str], what: str = "a table of the expected kind", dictionaries: Sequence[str] = ()
) -> Iterator[Any]:
    """Open a `pyarrow.parquet.ParquetFile` that must have some columns; messages call it `what`.

    Texts in the columns `dictionaries` remain places in a dictionary: one text of 1 MB may stand in a million rows. A
    `DataError` explains what is wrong with it, also while it is open.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, read_dictionary=_texts_among(path, dictionaries)) as file:
            check_columns(path, file.schema_arrow.names, columns, "Give the file that the platform's software wrote.")
            check_rows(path, file.metadata)
            yield file
    except OSError as error:
        reason = "no such file" if not path.exists() else first_line(error)
        raise DataError(f"{path}: cannot be read as a parquet file ({reason}). Copy it again.") from error
    except (pa.ArrowException, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise DataError(f"{path}: is not {what}, or is damaged ({first_line(error)}). Copy it again.") from error


def _texts_among(path: Path, columns: Sequence[str]) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {field.name: field.type for field in pq.read_schema(path)} if columns else {}
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return [name for name in columns if name in types and any(is_kind(types[name]) for is_kind in kinds)]


def parquet_columns(path: Path) -> list[str]:
    """List the columns of a parquet file."""
    with open_parquet(path, []) as file:
        return list(file.schema_arrow.names)


def parquet_batches(path: Path, numbers: Sequence[str], texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield columns of a parquet file in batches of rows.

    `numbers` are read as float64, NaN where a value is missing. `texts` (bytes, whole numbers and categories too) are
    read as a list of the distinct texts, and for each row the place of its text in it; a place beyond the end means
    that it is missing.
    """
    columns = [*numbers, *texts]
    with open_parquet(path, columns, dictionaries=texts) as file:
        for batch in file.iter_batches(_ROWS, columns=columns):
            table: dict[str, Any] = {name: _numbers(batch.column(name)) for name in numbers}
            table |= {name: _texts(batch.column(name)) for name in texts}
            yield table


def check_rows(path: Path, metadata: Any) -> None:
    """Check that a parquet file, by its `FileMetaData`, does not declare more rows than its bytes can hold."""
    size = path.stat().st_size
    if not 0 <= metadata.num_rows <= _ROWS_PER_BYTE * size:
        raise DataError(
            f"{path}: declares {metadata.num_rows} rows in {size} bytes. The file is damaged; copy it again."
        )


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
