from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pixnet.errors import DataError
from pixnet.readers.formats.files import check_one_sample, find_file, required_file
from pixnet.readers.formats.text import read_text


def test_files_are_found_behind_any_prefix(tmp_path: Path) -> None:
    assert find_file(tmp_path, ["a.h5"]) is None
    assert find_file(tmp_path / "none", ["a.h5"]) is None
    for name in ("una.h5", "._S1_a.h5"):
        (tmp_path / name).touch()
    assert find_file(tmp_path, ["a.h5"]) is None
    (tmp_path / "S1_a.h5").touch()
    assert find_file(tmp_path, ["b.h5", "a.h5"]) == tmp_path / "S1_a.h5"
    (tmp_path / "S2.a.h5").touch()
    with pytest.raises(DataError, match=r"'S1_a\.h5' and 'S2\.a\.h5' could both be meant"):
        find_file(tmp_path, ["a.h5"])
    (tmp_path / "a.h5").touch()
    assert find_file(tmp_path, ["a.h5"]) == tmp_path / "a.h5"
    (tmp_path / "b.h5").mkdir()
    assert find_file(tmp_path, ["b.h5", "a.h5"]) == tmp_path / "b.h5"


def test_of_files_with_one_name_the_one_that_all_others_continue_is_meant(tmp_path: Path) -> None:
    for name in ("GSM1_cells.geojson", "GSM1_graphclust_annotated_cells.geojson"):
        (tmp_path / name).touch()
    assert find_file(tmp_path, ["cells.geojson"]) == tmp_path / "GSM1_cells.geojson"
    (tmp_path / "GSM2_cells.geojson").touch()
    with pytest.raises(DataError, match="could both be meant"):
        find_file(tmp_path, ["cells.geojson"])


def test_gzipped_text_is_found_and_what_must_be_unpacked_is_named(tmp_path: Path) -> None:
    (tmp_path / "S1_factors.json.gz").touch()
    assert find_file(tmp_path, ["factors.json"]) == tmp_path / "S1_factors.json.gz"
    for name in ("S1_matrix.h5.gz", "spatial.tar.gz"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"matrix\.h5 not found\. S1_matrix\.h5\.gz is packed: unpack it there"):
        required_file(tmp_path, ["matrix.h5"])
    with pytest.raises(DataError, match=r"spatial\.tar\.gz is packed"):
        required_file(tmp_path, ["spatial"])


def test_prefixes_of_different_samples_are_refused(tmp_path: Path) -> None:
    matrix, positions = ["matrix.h5"], ["positions.csv"]
    check_one_sample({tmp_path / "S1_matrix.h5": matrix, tmp_path / "positions.csv": positions})
    check_one_sample({tmp_path / "GSM1_S1_matrix.h5": matrix, tmp_path / "S1_positions.csv.gz": positions})
    with pytest.raises(
        DataError, match=r"'S1_matrix\.h5' and 'S2_positions\.csv' have the prefixes of different samples"
    ):
        check_one_sample({tmp_path / "S1_matrix.h5": matrix, tmp_path / "S2_positions.csv": positions})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04" + bytes(20), "is a zip archive. Unpack it"),
        (b"PK\x03\x04..[Content_Types].xml", "is an Excel file"),
        (b"BZh9", "is packed with bzip2"),
        (b"\xfd7zXZ\x00", "is packed with xz"),
        (b"\x28\xb5\x2f\xfd", "is packed with zstd"),
        (bytes(257) + b"ustar", "is a tar archive"),
        (gzip.compress(gzip.compress(b"text")), "is packed twice with gzip"),
        (b"\x89HDF\r\n\x1a\n\0\xff", "is not a text file: it is an HDF5 file"),
        (b"%PDF-1.7 \xff\0", "is not a text file: it is a PDF"),
        ("Größe".encode("latin-1"), "line 1 has the byte 0xF6.*Latin-1.*as UTF-8"),
        (b"a\nb\nGr\xf6\xdfe", "line 3 has the byte 0xF6"),
        (b"A\0B", "is not a text file: it is binary"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "table.tsv").write_bytes(data)
    with pytest.raises(DataError, match=rf"table\.tsv: {words}"):
        read_text(tmp_path / "table.tsv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_text_in_any_encoding_that_names_itself(tmp_path: Path, encoding: str, packed: bool) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    data = (mark + "Größe\r\nµm").encode(encoding)
    (tmp_path / "t").write_bytes(gzip.compress(data) if packed else data)
    assert read_text(tmp_path / "t") == "Größe\nµm"
