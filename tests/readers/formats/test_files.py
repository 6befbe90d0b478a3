from __future__ import annotations

from pathlib import Path

import pytest

from pixnet.errors import DataError
from pixnet.readers.formats.files import find_file


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
