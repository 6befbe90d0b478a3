from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from pixnet.errors import DataError
from pixnet.readers.formats.count_table import read_counts

GOOD = "\tA\tB\tC\n1x1\t0\t2\t3\n1x2\t4\t0\t6.0\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD[1:],
        "spot" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD + "\n\n",
        "\ufeff" + GOOD,
        GOOD.replace("\t", ","),
        GOOD.replace("\t", ";"),
        GOOD.replace("A", '"A"').replace("1x1", '"1x1"'),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_dialects(tmp_path: Path, text: str, packed: bool) -> None:
    path = tmp_path / "c.tsv"
    data = text.encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    names, genes, counts, _ = read_counts(path)
    assert names == ["1x1", "1x2"]
    assert genes == ["A", "B", "C"]
    assert counts.toarray().tolist() == [[0, 2, 3], [4, 0, 6]]


@given(values=nps.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=st.integers(0, 10**6)))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    lines = ["\t".join(["", *(f"g{j}" for j in range(values.shape[1]))])]
    lines += ["\t".join([f"{i}x0", *map(str, row)]) for i, row in enumerate(values)]
    path = write(tmp_path_factory.mktemp("counts") / "c.tsv", "\n".join(lines))
    names, genes, counts, _ = read_counts(path)
    assert (len(names), len(genes)) == values.shape
    assert np.array_equal(counts.toarray(), values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\tA\tB\n", "header but no rows"),
        ("just a line\nand another\n", "header has 1 entries and its first row 1"),
        ("a|b|c\n1x1|2|3\n", "header has 1 entries"),
        ("\tA\tB\tC\n1x1\t1\n", "header has 4 entries and its first row 2"),
        ("\tA\tB\n1x1\t1\t2\n1x2\t1\n", "line 3 has 1 counts for 2 genes"),
        ("\tA\tB\n1x1\t1\t-2\n", "spot '1x1' has '-2' of gene 'B'"),
        ("\tA\tB\n1x1\t1\tnan\n", "1 of 1 rows, such as '1x1', have missing values"),
        ("\tA\tB\n1x1\t1\t\n", "have missing values"),
        ("\tA\tB\n1x1\t1_1\t2\n", "spot '1x1' has '1_1' of gene 'A'"),
        ("\tA\tB\n1x1\t0.5\t1\n", "'0.5' of gene 'A'"),
        ("\tA\tB\n1x1\tmany\t1\n", "'many' of gene 'A'"),
        ("\tA\tB\n1x1\tinf\t1\n", "'inf' of gene 'A'"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"c\.tsv: .*{message}"):
        read_counts(write(tmp_path / "c.tsv", text))


def test_bad_files(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD.encode() * 50)
    cases = {
        "binary.tsv": (b"\x89PNG\r\n\x1a\n\xff\xd8", "is not a text file"),
        "cut.tsv.gz": (packed[: len(packed) // 2], "gzip file is damaged or truncated"),
        "noise.tsv.gz": (packed[:20] + b"noise" + packed[25:], "gzip file is damaged or truncated"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name}: .*{message}"):
            read_counts(tmp_path / name)
    for name in ("missing.tsv", "."):
        with pytest.raises(DataError, match="cannot be read"):
            read_counts(tmp_path / name)
