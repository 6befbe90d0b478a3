"""Files of a few bytes that would fill the memory, each with the limit that stops it."""

from __future__ import annotations

import gzip
import resource
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixnet.errors import DataError, SlideError
from pixnet.readers.formats.files import read_plain_or_gzip
from pixnet.readers.formats.matrix_market import read_matrix_market
from pixnet.readers.formats.parquet import parquet_batches
from pixnet.regions import Polygons, Squares
from pixnet.safe.budget import VARIABLE, Budget, memory_limit
from pixnet.slide.decode_limit import check_decoded_size


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_parts_count_in_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert memory_limit() == 1 << 30
    budget = Budget("a.h5")
    for _ in range(2):
        budget.take(400 << 20, "a column")
    budget.check(1 << 30, "a block")
    with pytest.raises(DataError, match=rf"a\.h5: a column would take 1\.2 GB .* limit is 1 GB.*{VARIABLE}"):
        budget.take(400 << 20, "a column")


def test_a_gzip_file_of_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(pack.compress(b"0\t" * (1 << 19)) for _ in range(200)) + pack.flush()
    (tmp_path / "a.tsv.gz").write_bytes(data)
    monkeypatch.setenv(VARIABLE, "0.25")
    before = peak()
    with pytest.raises(DataError, match=rf"a\.tsv\.gz: a text of that size .*{VARIABLE}"):
        read_plain_or_gzip(tmp_path / "a.tsv.gz")
    assert peak() - before < 200 << 20


def test_a_matrix_that_declares_or_holds_a_billion_entries(tmp_path: Path) -> None:
    path, head = tmp_path / "matrix.mtx.gz", b"%%MatrixMarket matrix coordinate integer general\n"
    path.write_bytes(gzip.compress(head + b"3 3 1000000000\n1 1 1\n"))
    with pytest.raises(DataError, match=r"a matrix of 1000000000 entries would take"):
        read_matrix_market(path, (3, 3))
    path.write_bytes(gzip.compress(head + b"3 3 2\n" + b"1 1 1\n" * 100_000))
    with pytest.raises(DataError, match="declares 2 entries and holds more"):
        read_matrix_market(path, (3, 3))


def test_one_long_text_in_many_rows_of_a_parquet_file(tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(np.zeros(1_000_000, np.int32), ["x" * 20_000])
    pq.write_table(pa.table({"name": texts, "x": np.random.default_rng(1).random(1_000_000)}), tmp_path / "a.parquet")
    before = peak()
    rows = 0
    for batch in parquet_batches(tmp_path / "a.parquet", ["x"], ["name"]):
        names, place = batch["name"]
        assert [len(name) for name in names] == [20_000]
        rows += len(place)
    assert rows == 1_000_000
    assert peak() - before < 1 << 30  # as texts they would be 20 GB


def test_the_peak_of_decoding_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(1 << 21))
    with pytest.raises(SlideError, match=r"36000 x 36000 pixels without tiles would take 4\.8 GB"):
        check_decoded_size(path, 36_000, 36_000, bytes_per_px=4)


def test_a_polygon_that_crosses_itself_all_over() -> None:
    import shapely

    points = np.random.default_rng(1).random((20_000, 2)) * 1000
    with pytest.raises(DataError, match="polygon 0 crosses itself all over"):
        Polygons([shapely.Polygon(points)])


def test_turned_squares_are_made_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Squares.tiling(10, 20, 310, 220, 7.0, 30.0)
    monkeypatch.setattr("pixnet.regions.squares._AT_ONCE", 100)
    parts = Squares.tiling(10, 20, 310, 220, 7.0, 30.0)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    np.testing.assert_array_equal(parts.cols, whole.cols)
    assert parts.angle_deg == 30.0
