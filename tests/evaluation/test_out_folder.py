from __future__ import annotations

import pytest
from pixnet.evaluation.out_folder import replacing

from pixnet.errors import DataError


def test_a_failure_leaves_what_was_there(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("good")
    (out / "notes").write_text("mine")

    def fail():
        with replacing(out, overwrite=True) as folder:
            (folder / "results.json").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {path.name: path.read_text() for path in out.iterdir()} == {"results.json": "good", "notes": "mine"}
    with replacing(out, overwrite=True) as folder:
        (folder / "results.json").write_text("better")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"results.json": "better", "notes": "mine"}


def test_what_cannot_be_replaced_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other" / "model").mkdir(parents=True)
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "results.json").write_text("good")
    for name, words in (("file", "is a file"), ("other", "holds 'model' but no"), ("done", "or `overwrite=True`")):
        with pytest.raises(DataError, match=words), replacing(tmp_path / name, overwrite=False):
            pass
    assert (tmp_path / "done" / "results.json").read_text() == "good"


def test_cells_in_the_folder_stay(tmp_path):
    (tmp_path / "out" / "cells").mkdir(parents=True)
    (tmp_path / "out" / "cells" / "one").write_text("kept")
    with replacing(tmp_path / "out", overwrite=False) as folder:
        (folder / "results.json").write_text("{}")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cells", "results.json"}
