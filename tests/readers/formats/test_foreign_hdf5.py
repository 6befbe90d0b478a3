"""HDF5 files whose content is in other files."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from pixnet.errors import DataError
from pixnet.readers import read_anndata
from pixnet.readers.formats.hdf5 import open_hdf5
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix


def by_link(file: h5py.File, other: Path) -> None:
    file["group/counts"] = h5py.ExternalLink(other.name, "counts")


def by_absolute_link(file: h5py.File, other: Path) -> None:
    file["counts"] = h5py.ExternalLink(str(other), "counts")


def through_a_soft_link(file: h5py.File, other: Path) -> None:
    file["hidden/deep/there"] = h5py.ExternalLink(str(other), "/")
    file["counts"] = h5py.SoftLink("/hidden/deep/there/counts")


def by_raw_storage(file: h5py.File, other: Path) -> None:
    file.create_group("group").create_dataset("text", (5,), "S4", external=[(str(other), 0, 20)])


def by_virtual_dataset(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((10,), "i4")
    layout[:] = h5py.VirtualSource(str(other), "counts", (10,))
    file.create_virtual_dataset("counts", layout)


def to_a_pipe(file: h5py.File, other: Path) -> None:
    file["counts"] = h5py.ExternalLink("/dev/stdin", "counts")


WAYS = [by_link, by_absolute_link, through_a_soft_link, by_raw_storage, by_virtual_dataset, to_a_pipe]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_in_another_file_is_not_read(tmp_path: Path, way: Callable[[h5py.File, Path], None]) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["counts"] = np.arange(10, dtype=np.int32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["own"] = [1, 2, 3]
        way(file, tmp_path / "other.h5")
    with pytest.raises(DataError, match="is not in this file but in another one"):
        open_hdf5(tmp_path / "a.h5")


@pytest.mark.parametrize("read", [read_tenx_matrix, lambda path: read_anndata(path, path.with_suffix(".png"))])
def test_every_reader_refuses_it(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "secret").write_bytes(b"root:x:0:0::" * 10)
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        for group in ("obs", "var", "matrix"):
            file.create_group(group).create_dataset("_index", (5,), "S12", external=[(str(tmp_path / "secret"), 0, 60)])
    with pytest.raises(DataError, match=r"a\.h5ad: matrix/_index is not in this file|a\.h5ad: obs/_index is not in"):
        read(tmp_path / "a.h5ad")


def test_links_within_the_file_are_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/counts"] = [1, 2, 3]
        file["soft"] = h5py.SoftLink("/group/counts")
        file["hard"] = file["group/counts"]
        file["circle"] = h5py.SoftLink("/circle")
    with open_hdf5(tmp_path / "a.h5") as file:
        assert file["soft"][:].tolist() == file["hard"][:].tolist() == [1, 2, 3]


def test_one_text_that_stands_for_millions(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        kind = h5py.string_dtype()
        names = file.create_dataset("names", (3_000_000,), kind, chunks=(3_000_000,), compression="gzip", fillvalue="")
        names[:1] = ["x" * 2000]
        # Every entry refers to the same text, as in a file that was made by hand.
        mask, packed = names.id.read_direct_chunk((0,))
        entry = zlib.decompress(packed)[:16]
        names.id.write_direct_chunk((0,), zlib.compress(entry * 3_000_000, 9), mask)
    with pytest.raises(DataError, match="asks for more memory than it can need"):
        open_hdf5(tmp_path / "a.h5")


def test_columns_that_are_too_large_together(tmp_path: Path) -> None:
    anndata.AnnData(np.ones((2, 2), np.float32), obs=pd.DataFrame(index=["a", "b"])).write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        for number in range(300):
            column = file["obs"].create_dataset(
                f"c{number}", (255 << 17,), np.float64, chunks=(1 << 20,), compression="gzip"
            )
            column.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            column[:10] = 1.0
        file["obs"].attrs["column-order"] = [f"c{number}" for number in range(300)]
    with pytest.raises(DataError, match="with the arrays before it"):
        read_anndata(tmp_path / "a.h5ad", tmp_path / "a.png")
