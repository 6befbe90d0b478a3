"""Comparison of the sizes that a file declares with what it stores, before memory is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from pixnet.errors import DataError

_UNPACKS = 1100  # times more than is stored; deflate does not compress further
_SMALL = 1 << 28  # bytes that any array may declare
_ROWS_PER_BYTE = 8  # of a table whose rows differ; usually a row takes several bytes


def check_sizes(name: str, element: Any) -> None:
    """Check that arrays do not declare far more than the file holds, which would fill the memory with nothing.

    Parameters
    ----------
    name
        Name of the file in the message.
    element
        An array or group of HDF5 or zarr.

    Raises
    ------
    DataError
        If one of the arrays does.
    """
    for array in arrays(element):
        # A chunk is unpacked completely, and may be larger than the array.
        entries = max(math.prod(array.shape or ()), math.prod(array.chunks or ()))
        declared = entries * array.dtype.itemsize
        stored = array.id.get_storage_size() if isinstance(array, h5py.Dataset) else array.nbytes_stored()
        if declared > max(_UNPACKS * stored, _SMALL):
            raise DataError(
                f"{name}: {array.name} declares {declared >> 20} MB, but only {stored >> 20} MB are stored. "
                "The file is damaged; copy or download it again."
            )


def check_rows(path: Path, metadata: Any) -> None:
    """Check that a parquet file does not declare more rows than its bytes can hold.

    Parameters
    ----------
    path
        The file.
    metadata
        Its `pyarrow.parquet.FileMetaData`.

    Raises
    ------
    DataError
        If it does.
    """
    size = path.stat().st_size
    if not 0 <= metadata.num_rows <= _ROWS_PER_BYTE * size:
        raise DataError(
            f"{path}: declares {metadata.num_rows} rows in {size} bytes. The file is damaged; copy it again."
        )


def arrays(element: Any) -> Iterator[Any]:
    """Yield all arrays of HDF5 or zarr below an element, each once, however a damaged file links its groups."""
    if isinstance(element, h5py.Group):
        datasets: list[Any] = []
        element.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        yield from datasets
    elif hasattr(element, "members"):  # a group of zarr
        yield from (item for _, item in element.members(max_depth=None) if not hasattr(item, "members"))
    else:
        yield element
