"""Sizes that a file declares, held against what it stores, before memory is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from pixnet.errors import DataError

_UNPACKS = 1100  # times more than is stored; deflate saves no more
_SMALL = 1 << 28  # bytes that anything may declare
_ROWS_PER_BYTE = 8  # of a table whose rows differ; really it is the other way round


def check_sizes(name: str, element: Any) -> None:
    """Refuse what declares far more than the file holds: it would fill the memory with nothing.

    Parameters
    ----------
    name
        What the message calls the file.
    element
        An array or group of HDF5 or zarr.

    Raises
    ------
    DataError
        If one of the arrays in it does.
    """
    for array in arrays(element):
        # A chunk is unpacked whole, and may be larger than the array.
        entries = max(math.prod(array.shape or ()), math.prod(array.chunks or ()))
        declared = entries * array.dtype.itemsize
        stored = array.id.get_storage_size() if isinstance(array, h5py.Dataset) else array.nbytes_stored()
        if declared > max(_UNPACKS * stored, _SMALL):
            raise DataError(
                f"{name}: {array.name} declares {declared >> 20} MB, but only {stored >> 20} MB are stored. "
                "The file is damaged; copy or download it again."
            )


def check_rows(path: Path, metadata: Any) -> None:
    """Refuse a parquet file with more rows than its bytes can tell apart.

    Parameters
    ----------
    path
        The file.
    metadata
        Its `pyarrow.parquet.FileMetaData`.

    Raises
    ------
    DataError
        If it is so.
    """
    size = path.stat().st_size
    if not 0 <= metadata.num_rows <= _ROWS_PER_BYTE * size:
        raise DataError(
            f"{path}: declares {metadata.num_rows} rows in {size} bytes. The file is damaged; copy it again."
        )


def arrays(element: Any) -> Iterator[Any]:
    """Give all arrays of HDF5 or zarr below an element, each once, however a damaged file links its groups."""
    if isinstance(element, h5py.Group):
        found: list[Any] = []
        element.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        yield from found
    elif hasattr(element, "members"):  # a group of zarr
        yield from (item for _, item in element.members(max_depth=None) if not hasattr(item, "members"))
    else:
        yield element
