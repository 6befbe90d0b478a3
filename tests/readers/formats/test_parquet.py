from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixnet.errors import DataError
from pixnet.readers.formats.parquet import check_rows


def test_a_parquet_file_has_no_more_rows_than_its_bytes_tell_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": np.arange(1000)}), path)
    check_rows(path, pq.read_metadata(path))
    pq.write_table(pa.table({"a": np.zeros(1_000_000, np.int8)}), path)
    with pytest.raises(DataError, match="declares 1000000 rows in"):
        check_rows(path, pq.read_metadata(path))
