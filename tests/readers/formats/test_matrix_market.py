from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy import io, sparse

from pixnet.errors import DataError
from pixnet.readers.formats.matrix_market import read_matrix_market

HEAD = "%%MatrixMarket matrix coordinate integer general\n%a comment\n"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [np.int32, np.float64])
def test_what_scipy_writes_is_read(tmp_path: Path, packed: bool, kind: type) -> None:
    found = sparse.random(40, 30, 0.2, random_state=1)
    found.data = np.ceil(found.data * 9)
    io.mmwrite(tmp_path / "m.mtx", found.astype(kind), comment="two\nlines")
    path = tmp_path / "m.mtx"
    if packed:
        path = tmp_path / "m.mtx.gz"
        path.write_bytes(gzip.compress((tmp_path / "m.mtx").read_bytes()))
    again = read_matrix_market(path, (40, 30))
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again.toarray(), found.toarray())


def test_a_matrix_without_entries(tmp_path: Path) -> None:
    (tmp_path / "m.mtx").write_text(HEAD + "3 2 0\n")
    again = read_matrix_market(tmp_path / "m.mtx", (3, 2))
    assert (again.shape, again.nnz) == ((3, 2), 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with ''"),
        ("%%MatrixMarket matrix array real general\n2 2\n1\n", "is not a Matrix Market file of counts"),
        (HEAD, "not enough values"),
        (HEAD + "3 x 1\n", "invalid literal"),
        (HEAD + "4 2 1\n1 1 1\n", "is 4 x 2, but there are 3 features and 2 barcodes"),
        (HEAD + "3 2 2\n1 1 1\n", "declares 2 entries and holds 1"),
        (HEAD + "3 2 999999999999\n1 1 1\n", "a matrix of 999999999999 entries would take"),
        (HEAD + "3 2 1\n0 1 1\n", "outside the matrix"),
        (HEAD + "3 2 1\n4 1 1\n", "outside the matrix"),
        (HEAD + "3 2 1\n99999999999 1 1\n", "outside the matrix"),
        (HEAD + "3 2 1\n1 1 1 1\n", "is not a number"),
        (HEAD + "3 2 1\n1 1\n", "is not a number"),
        (HEAD + "3 2 1\n1 1 x\n", "could not convert"),
        (HEAD + "3 2 2\n1 1 1\n1 1 1 1 1 1\n", "Expected 4 fields"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.mtx").write_text(text)
    with pytest.raises(DataError, match=rf"m\.mtx: .*{message}"):
        read_matrix_market(tmp_path / "m.mtx", (3, 2))


def test_a_missing_or_cut_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_matrix_market(tmp_path / "missing.mtx", (3, 2))
    (tmp_path / "cut.mtx.gz").write_bytes(gzip.compress(HEAD.encode() + b"3 2 1\n1 1 1\n")[:-9])
    with pytest.raises(DataError, match="truncated"):
        read_matrix_market(tmp_path / "cut.mtx.gz", (3, 2))
