"""The count matrix of 10x Genomics' pipelines: an HDF5 file, or a folder with a Matrix Market file.

Both store genes x barcodes column by column, which is the same as barcodes x genes row by row, the order used here.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError, first_line
from pixnet.readers.formats.files import check_one_sample, required_file
from pixnet.readers.formats.hdf5 import check_sizes, open_hdf5
from pixnet.readers.formats.matrix_market import read_matrix_market
from pixnet.readers.formats.names import MATRIX_MARKET
from pixnet.readers.formats.text import read_text

GENE_EXPRESSION = "Gene Expression"
_HEADERS = frozenset(
    {"gene_id", "gene_ids", "gene", "genes", "feature_id", "feature", "id", "barcode", "barcodes", "x"}
)
_MOST_GENES = 1 << 22  # beyond it a declared shape is damage, not a transcriptome


@dataclass(frozen=True)
class TenXMatrix:
    """Counts by barcode of the genes; other features (antibodies, controls) are left out.

    Attributes: the barcodes as bytes, shape (n,); float32 CSR, shape (n, g); symbols and Ensembl ids of the genes; and
    the number of other features by kind.
    """

    barcodes: NDArray[np.bytes_]
    matrix: sparse.csr_matrix
    names: list[str]
    ids: list[str]
    others: dict[str, int]


def read_tenx_matrix(path: Path) -> TenXMatrix:
    """Read a matrix from its HDF5 file (Cell Ranger 2 to 9) or its folder."""
    if path.is_dir():
        return _read_folder(path)
    with open_tenx_matrix(path) as file:
        return _read_h5(path, file)


@contextmanager
def open_tenx_matrix(path: Path) -> Iterator[h5py.File]:
    """Open the HDF5 file of a matrix; a `DataError` explains what is wrong with it, also while it is open."""
    try:
        with open_hdf5(path) as file:
            yield file
    except OSError as error:
        reason = "no such file" if not path.exists() else first_line(error)
        raise DataError(
            f"{path}: cannot be read as HDF5 ({reason}). Give the matrix that the pipeline wrote."
        ) from error
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        raise DataError(f"{path}: is not a 10x matrix, or is damaged ({first_line(error)}). Copy it again.") from error


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
        raise DataError(
            f"{path}: is damaged; it declares {genes} x {columns} and holds {entries} entries. Copy it again."
        )
    indptr = group["indptr"][:].astype(np.int64)
    # Read directly into the final types: a capture area has over a hundred million entries.
    data, indices = np.empty(entries, np.float32), np.empty(entries, np.int32)
    if entries:
        group["data"].read_direct(data)
        group["indices"].read_direct(indices)
    return _checked(path, barcodes, names, ids, kinds, genes, (data, indices, indptr))


def _texts(dataset: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[:]]


def _checked(
    path: Path,
    barcodes: NDArray[np.bytes_],
    names: list[str],
    ids: list[str],
    kinds: list[str],
    genes: int,
    parts: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]],
) -> TenXMatrix:
    """Check the parts against each other, and select the genes; old files have no `kinds`."""
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
    is_gene = np.array([kind == GENE_EXPRESSION for kind in kinds]) if kinds else np.ones(genes, bool)
    if not is_gene.any():
        raise DataError(
            f"{path}: has no feature of the type {GENE_EXPRESSION!r}, only {', '.join(sorted(set(kinds)))}."
        )
    if not is_gene.all():
        matrix = matrix[:, np.flatnonzero(is_gene)]
        names, ids = list(compress(names, is_gene)), list(compress(ids, is_gene))
    others = Counter(kind for kind in kinds if kind != GENE_EXPRESSION)
    return TenXMatrix(barcodes, matrix, names, ids, dict(others))


def _read_folder(folder: Path) -> TenXMatrix:
    remedy = "A matrix folder has matrix.mtx, barcodes.tsv and features.tsv."
    names_of = {"matrix": MATRIX_MARKET, "barcodes": ("barcodes.tsv",), "features": ("features.tsv", "genes.tsv")}
    matrix_path, barcodes_path, features_path = (required_file(folder, names, remedy) for names in names_of.values())
    check_one_sample(dict(zip((matrix_path, barcodes_path, features_path), names_of.values(), strict=True)))
    barcodes = _table(barcodes_path)[0].to_numpy(dtype=str)
    features = _table(features_path)
    genes = len(features)
    matrix = read_matrix_market(matrix_path, (genes, len(barcodes)))
    ids = features[0].tolist()
    names = features[1].tolist() if 1 in features else ids
    kinds = features[2].tolist() if 2 in features else []
    parts = matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int64)
    return _checked(matrix_path, barcodes.astype(np.bytes_), names, ids, kinds, genes, parts)


def _table(path: Path) -> pd.DataFrame:
    """Return a table without a header as texts; quotes around its entries, and a header, are left out."""
    text = read_text(path)
    try:
        table: pd.DataFrame = pd.read_csv(
            io.StringIO(text), sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is not a tab-separated table ({first_line(error)}). Copy it again.") from error
    table = table.fillna("").apply(lambda column: column.str.strip().str.removeprefix('"').str.removesuffix('"'))
    has_header = str(table.iloc[0, 0]).lower() in _HEADERS
    return table.iloc[int(has_header) :].reset_index(drop=True)
