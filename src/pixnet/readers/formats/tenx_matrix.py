"""The count matrix of 10x Genomics' pipelines: an HDF5 file, or a folder with a Matrix Market file.

Both hold genes in rows and barcodes in columns, column by column; that is the rows of barcodes x genes, as wanted here.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.declared import check_sizes
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.hdf5 import open_hdf5
from pixnet.readers.formats.matrix_market import read_matrix_market

GENE_EXPRESSION = "Gene Expression"
_MOST_GENES = 1 << 22  # beyond it a declared shape is damage, not a transcriptome


@dataclass(frozen=True)
class TenXMatrix:
    """Counts by barcode, the genes alone; other features (antibodies, controls) are left out and counted.

    Attributes
    ----------
    barcodes
        (n,) bytes, as in the file.
    matrix
        (n, g) float32 CSR.
    names, ids
        The genes' symbols and Ensembl ids.
    others
        Number of features of other kinds, by kind.
    """

    barcodes: NDArray[np.bytes_]
    matrix: sparse.csr_matrix
    names: list[str]
    ids: list[str]
    others: dict[str, int]


def read_tenx_matrix(path: Path) -> TenXMatrix:
    """Read a matrix from its HDF5 file (Cell Ranger 2 to 9) or its folder.

    Raises
    ------
    DataError
        If the file is missing, damaged or no such matrix.
    """
    if path.is_dir():
        return _read_folder(path)
    try:
        with open_hdf5(path) as file:
            return _read_h5(path, file)
    except OSError as error:
        reason = "no such file" if not path.exists() else first_line(error)
        raise DataError(
            f"{path}: cannot be read as HDF5 ({reason}). Give the matrix that the pipeline wrote."
        ) from error
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        raise DataError(f"{path}: is no 10x matrix, or damaged ({first_line(error)}).") from error


def _read_h5(path: Path, file: h5py.File) -> TenXMatrix:
    # Version 3 has one group `matrix`; version 2 one group for each genome.
    group = file["matrix"] if "matrix" in file else file[next(iter(file), "matrix")]
    check_sizes(str(path), group)
    features = group.get("features")
    ids = _texts(features["id"] if features is not None else group["genes"])
    names = _texts(features["name"] if features is not None else group["gene_names"])
    kinds = _texts(features["feature_type"]) if features is not None and "feature_type" in features else []
    barcodes = np.asarray(group["barcodes"][:], dtype=np.bytes_)
    genes, columns = (int(side) for side in group["shape"][:])
    entries = group["data"].shape[0]
    if genes > _MOST_GENES or group["indices"].shape[0] != entries or group["indptr"].shape[0] != columns + 1:
        raise DataError(f"{path}: is damaged; it declares {genes} x {columns} and holds {entries} entries.")
    indptr = group["indptr"][:].astype(np.int64)
    # Read into the types that are kept: a capture area has over a hundred million entries.
    data, indices = np.empty(entries, np.float32), np.empty(entries, np.int32)
    if entries:
        group["data"].read_direct(data)
        group["indices"].read_direct(indices)
    return _made(path, barcodes, names, ids, kinds, (data, indices, indptr), genes)


def _texts(dataset: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[:]]


def _made(
    path: Path,
    barcodes: NDArray[np.bytes_],
    names: list[str],
    ids: list[str],
    kinds: list[str],
    parts: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]],
    genes: int,
) -> TenXMatrix:
    """Check the parts against each other, and keep the genes."""
    data, indices, indptr = parts
    rows = len(barcodes)
    ordered = len(indptr) == rows + 1 and indptr[0] == 0 and indptr[-1] == len(data) and (np.diff(indptr) >= 0).all()
    inside = not len(indices) or (indices.min() >= 0 and indices.max() < genes)
    if not ordered or not inside or len(names) != genes or len(ids) != genes or (kinds and len(kinds) != genes):
        raise DataError(
            f"{path}: is damaged; {rows} barcodes, {len(names)} names and {len(ids)} ids of {genes} features and "
            f"{len(data)} entries do not fit together. Copy or write it again."
        )
    matrix = sparse.csr_matrix((data, indices, indptr), shape=(rows, genes))
    others: dict[str, int] = {}
    wanted = np.array([kind == GENE_EXPRESSION for kind in kinds]) if kinds else np.ones(genes, bool)
    if not wanted.any():
        raise DataError(
            f"{path}: holds no feature of the type {GENE_EXPRESSION!r}, only {', '.join(sorted(set(kinds)))}."
        )
    if not wanted.all():
        for kind in kinds:
            if kind != GENE_EXPRESSION:
                others[kind] = others.get(kind, 0) + 1
        matrix = matrix[:, np.flatnonzero(wanted)]
        names = [name for name, keep in zip(names, wanted, strict=True) if keep]
        ids = [name for name, keep in zip(ids, wanted, strict=True) if keep]
    return TenXMatrix(barcodes, matrix, names, ids, others)


def _read_folder(folder: Path) -> TenXMatrix:
    matrix_path = _required(folder, ("matrix.mtx.gz", "matrix.mtx"))
    barcodes = _table(_required(folder, ("barcodes.tsv.gz", "barcodes.tsv")))[0].to_numpy(dtype=str)
    features = _table(_required(folder, ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv")))
    genes = len(features)
    found = read_matrix_market(matrix_path, (genes, len(barcodes)))
    ids = features[0].tolist()
    names = features[1].tolist() if 1 in features else ids
    kinds = features[2].tolist() if 2 in features else []
    parts = found.data, found.indices.astype(np.int32), found.indptr.astype(np.int64)
    return _made(matrix_path, barcodes.astype(np.bytes_), names, ids, kinds, parts, genes)


def _required(folder: Path, names: Sequence[str]) -> Path:
    found = find_file(folder, names)
    if found is not None:
        return found
    raise DataError(f"{folder}: holds no {names[0]!r}; a matrix folder has matrix.mtx, barcodes.tsv and features.tsv.")


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3)
    except (OSError, EOFError, zlib.error, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is no tab-separated table ({first_line(error)}).") from error
