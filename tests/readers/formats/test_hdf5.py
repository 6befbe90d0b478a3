from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from pixnet.errors import DataError
from pixnet.readers.formats import hdf5
from pixnet.readers.formats.hdf5 import check_sizes, open_hdf5
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix


def write(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["group/numbers"] = np.arange(100).reshape(20, 5)
        file.create_dataset("group/packed", data=np.arange(10_000), chunks=(1000,), compression="gzip")
        file["group/texts"] = np.array(["one", "two", "three"], h5py.string_dtype())
        file["empty"] = h5py.Empty("f4")
        file["scalar"] = 3.5
        file["again"] = file["group"]
        file["group/up"] = h5py.SoftLink("/")
        file["group/nowhere"] = h5py.SoftLink("/missing")
        file.attrs["encoding-type"] = "anndata"
        file["group"].attrs["points_at"] = file["scalar"].ref
    return path


def altered(path: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def without_heap(data: bytearray) -> None:
    """Zero the texts: HDF5 2.0 looks for the next of them without end."""
    start = data.index(b"GCOL") + 16
    data[start : start + 1000] = bytes(1000)


def of_no_kind(data: bytearray) -> None:
    """Alter the kind of an attribute's texts: HDF5 2.0 crashes."""
    start = data.index(b"\x19\x01", data.index(b"encoding-type"))
    data[start + 1] = 0x3C


def test_a_sound_file_is_opened_and_gone_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5")
    for _ in range(2):
        with open_hdf5(path) as file:
            assert file["group/packed"][-1] == 9999
    seen = [key for key in hdf5._verdicts if key[0] == str(path.resolve())]
    assert len(seen) == 1
    # The same file by another name, and from another place.
    monkeypatch.chdir(tmp_path)
    open_hdf5(Path("a.h5")).close()
    assert [key for key in hdf5._verdicts if key[0] == str(path.resolve())] == seen
    os.utime(path, (1, 1))
    open_hdf5(path).close()
    assert len([key for key in hdf5._verdicts if key[0] == str(path.resolve())]) == 2


@pytest.mark.parametrize("damage", [without_heap, of_no_kind])
def test_what_hdf5_does_not_survive_is_refused(tmp_path: Path, damage: Callable[[bytearray], None]) -> None:
    path = altered(write(tmp_path / "a.h5"), damage)
    # Without the guard this process would end here; an HDF5 that has learnt to notice says so itself.
    said = r"a\.h5: the HDF5 file is damaged: HDF5 crashes|Can't"
    with pytest.raises((DataError, OSError), match=said), open_hdf5(path) as file:
        assert file["group/texts"][:] is not file.attrs["encoding-type"]


def test_what_h5py_can_say_itself_is_left_to_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_hdf5(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(OSError, match="signature"):
        open_hdf5(tmp_path / "text.h5")
    path = altered(write(tmp_path / "cut.h5"), lambda data: data.__delitem__(slice(3000, None)))
    with pytest.raises(OSError, match="truncated"):
        open_hdf5(path)


def test_a_large_process_may_open_a_sound_file(tmp_path: Path) -> None:
    # On Linux a child's highest mark of memory begins with its parent's: that must not be taken for the file's.
    path = tmp_path / "sound.h5"
    with h5py.File(path, "w") as file:
        file["values"] = np.arange(5)
    held = np.ones(160_000_000)
    with open_hdf5(path) as file:
        assert file["values"][-1] == 4
    assert held[-1] == 1


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
