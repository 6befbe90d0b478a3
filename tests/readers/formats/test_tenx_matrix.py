from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import io, sparse

from pixnet.errors import DataError
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix

DENSE = np.array([[0, 3, 1], [2, 0, 0], [0, 0, 5], [1, 1, 1]], np.int32)  # barcodes x features
KINDS = ["Gene Expression", "Gene Expression", "Antibody Capture"]


def write_h5(path: Path, version: int = 3, **changes: object) -> Path:
    found = sparse.csr_matrix(DENSE)
    parts: dict[str, object] = {
        "barcodes": np.array([b"AA-1", b"AC-1", b"AG-1", b"AT-1"]),
        "data": found.data,
        "indices": found.indices.astype(np.int64),
        "indptr": found.indptr.astype(np.int64),
        "shape": np.array(DENSE.T.shape, np.int32),
        **changes,
    }
    texts = {"id": [b"E1", b"E2", b"A1"], "name": [b"ONE", b"TWO", b"CD3"], "feature_type": [k.encode() for k in KINDS]}
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        for name, value in parts.items():
            group[name] = value
        if version == 3:
            for name, values in texts.items():
                group[f"features/{name}"] = np.array(values)
        else:
            group["genes"], group["gene_names"] = np.array(texts["id"]), np.array(texts["name"])
    return path


def write_folder(folder: Path, packed: bool, prefix: str = "", old: bool = False) -> Path:
    folder.mkdir()
    features = "".join(f"E{i}\tG{i}" + ("" if old else f"\t{kind}") + "\n" for i, kind in enumerate(KINDS))
    texts = {"barcodes.tsv": "AA-1\nAC-1\nAG-1\nAT-1\n", ("genes.tsv" if old else "features.tsv"): features}
    io.mmwrite(folder / "matrix.mtx", sparse.coo_matrix(DENSE.T))
    texts["matrix.mtx"] = (folder / "matrix.mtx").read_text()
    (folder / "matrix.mtx").unlink()
    for name, text in texts.items():
        if packed:
            (folder / f"{prefix}{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / f"{prefix}{name}").write_text(text)
    return folder


def test_version_3_keeps_the_genes_and_counts_the_others(tmp_path: Path) -> None:
    found = read_tenx_matrix(write_h5(tmp_path / "m.h5"))
    assert found.matrix.toarray().tolist() == DENSE[:, :2].tolist()
    assert (found.names, found.ids, found.others) == (["ONE", "TWO"], ["E1", "E2"], {"Antibody Capture": 1})
    assert found.barcodes.tolist() == [b"AA-1", b"AC-1", b"AG-1", b"AT-1"]
    assert found.matrix.dtype == np.float32


def test_version_2(tmp_path: Path) -> None:
    found = read_tenx_matrix(write_h5(tmp_path / "m.h5", version=2))
    assert found.matrix.toarray().tolist() == DENSE.tolist()
    assert found.names == ["ONE", "TWO", "CD3"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("prefix", ["", "sample_"])
@pytest.mark.parametrize("old", [False, True])
def test_folders(tmp_path: Path, packed: bool, prefix: str, old: bool) -> None:
    found = read_tenx_matrix(write_folder(tmp_path / "m", packed, prefix, old))
    kept = 3 if old else 2
    assert found.matrix.toarray().tolist() == DENSE[:, :kept].tolist()
    assert found.names == [f"G{i}" for i in range(kept)]


@pytest.mark.parametrize(
    "changes",
    [
        {"indptr": np.array([0, 2, 3, 4], np.int64)},
        {"indptr": np.array([0, 3, 2, 4, 7], np.int64)},
        {"indices": np.array([1, 2, 0, 2, 0, 1, 9], np.int64)},
        {"indices": np.array([1, 2, 0, 2, 0, 1, -1], np.int64)},
        {"shape": np.array([4, 4], np.int32)},
        {"shape": np.array([2**31 - 1, 4], np.int32)},
        {"barcodes": np.array([b"AA-1"])},
    ],
)
def test_damaged_parts_are_told(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"m\.h5: is (damaged|not a 10x matrix)"):
        read_tenx_matrix(write_h5(tmp_path / "m.h5", **changes))


def test_what_is_no_matrix(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"text")
    with pytest.raises(DataError, match=r"m\.h5: cannot be read as HDF5"):
        read_tenx_matrix(tmp_path / "m.h5")
    with pytest.raises(DataError, match=r"none\.h5: cannot be read as HDF5 \(no such file\)"):
        read_tenx_matrix(tmp_path / "none.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(DataError, match=r"empty\.h5: is not a 10x matrix"):
        read_tenx_matrix(tmp_path / "empty.h5")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"matrix\.mtx not found"):
        read_tenx_matrix(tmp_path / "folder")


def test_a_truncated_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", packed=True)
    packed = (folder / "matrix.mtx.gz").read_bytes()
    (folder / "matrix.mtx.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="is not a Matrix Market file, or is truncated"):
        read_tenx_matrix(folder)


def test_real_folders_and_files_agree(shared: Path) -> None:
    outs = shared / "data/fixtures/visium-layouts/10xVisium/section1/outs"
    file, folder = (read_tenx_matrix(outs / f"raw_feature_bc_matrix{end}") for end in (".h5", ""))
    assert file.matrix.shape == (50, 49)
    assert folder.matrix.shape == (50, 50)
    assert sorted(file.barcodes) == sorted(folder.barcodes)
    assert set(file.ids) <= set(folder.ids)
