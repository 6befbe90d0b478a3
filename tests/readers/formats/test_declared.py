from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from pixnet.errors import DataError
from pixnet.readers.formats.hdf5 import check_sizes
from pixnet.readers.formats.parquet import check_rows
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix


def test_arrays_that_are_mostly_absent_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/full", data=np.arange(1000))
        check_sizes("a.h5", file)
        file.create_dataset("group/absent", (1 << 20, 1000), "f4", chunks=(100, 100))
        with pytest.raises(DataError, match=r"a\.h5: /group/absent declares 4000 MB, but only 0 MB are stored"):
            check_sizes("a.h5", file)
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    root.create_array("full", data=np.arange(1000))
    check_sizes("a.zarr", root)
    root.create_array("absent", shape=(1 << 20, 1000), chunks=(100, 100), dtype="f4")
    with pytest.raises(DataError, match="absent declares 4000 MB"):
        check_sizes("a.zarr", root)


def test_a_chunk_that_is_larger_than_its_array_counts(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    root.create_array("small", shape=(10,), chunks=(1 << 27,), dtype="f8")
    with pytest.raises(DataError, match="small declares 1024 MB"):
        check_sizes("a.zarr", root)


def test_a_matrix_that_declares_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        group = file.create_group("matrix")
        group.create_dataset("data", (1 << 32,), "i4", chunks=(1 << 16,))
    with pytest.raises(DataError, match="data declares 16384 MB"):
        read_tenx_matrix(tmp_path / "m.h5")


def test_a_parquet_file_has_no_more_rows_than_its_bytes_tell_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": np.arange(1000)}), path)
    check_rows(path, pq.read_metadata(path))
    pq.write_table(pa.table({"a": np.zeros(1_000_000, np.int8)}), path)
    with pytest.raises(DataError, match="declares 1000000 rows in"):
        check_rows(path, pq.read_metadata(path))
