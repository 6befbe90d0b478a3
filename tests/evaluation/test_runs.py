from __future__ import annotations

import json
import multiprocessing
import time

import numpy as np
import pytest
import torch

from pixnet.errors import DataError
from pixnet.evaluation.runs import Cell, Cells

VALUES = {"A/1": np.arange(6, dtype=np.float32).reshape(2, 3), "B": np.full((1, 3), np.nan, np.float32)}


def cell(**options):
    return Cell("ridge", "A & B", 3, {"samples": {"train:A": "x"}, **options})


def counting(calls, fail=False):
    def compute(folder):
        calls.append(folder)
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "weights").write_text("w")
        (folder / "scratch").write_text("s")
        if fail:
            raise ZeroDivisionError
        return VALUES, {"penalty": 2.0}

    return compute


def test_a_cell_is_computed_once_and_kept(tmp_path):
    calls = []
    for _ in range(2):
        stored = Cells(tmp_path).get(cell(), counting(calls))
        assert stored.arrays.keys() == VALUES.keys()
        for name, values in VALUES.items():
            np.testing.assert_array_equal(stored.arrays[name], values)
        assert stored.facts["chosen"] == {"penalty": 2.0}
        assert stored.facts["resumed"] is False
        assert (stored.folder / "model" / "weights").is_file()
        assert not (stored.folder / "scratch").exists()
    assert len(calls) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"ridge"}


def test_any_other_input_code_or_setting_is_another_cell(tmp_path):
    store = Cells(tmp_path)
    store.get(cell(), counting([]))
    for other in (cell(code="2"), cell(samples={}), Cell("ridge", "A & B", 4, cell().depends_on),
                  Cell("mean", "A & B", 3, cell().depends_on), Cell("ridge", "A", 3, cell().depends_on)):  # fmt: skip
        assert other.key != cell().key
        assert not store.has(other)


def test_a_computation_that_broke_off_is_gone_on_with(tmp_path):
    calls, store = [], Cells(tmp_path)
    with pytest.raises(ZeroDivisionError):
        store.get(cell(), counting(calls, fail=True))
    assert not store.has(cell())
    assert (calls[0] / "scratch").read_text() == "s"
    stored = store.get(cell(), counting(calls))
    assert calls[0] == calls[1]
    assert stored.facts["resumed"] is True


def test_a_cell_costs_what_all_its_sittings_cost(tmp_path):
    def resting(fail):
        def compute(_):
            time.sleep(0.2)
            if fail:
                raise ZeroDivisionError
            return VALUES, {}

        return compute

    store = Cells(tmp_path)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            store.get(cell(), resting(fail=True))
    facts = store.get(cell(), resting(fail=False)).facts
    sittings = facts["sittings"]
    assert len(sittings) == 3
    assert all(one["seconds"] >= 0.2 for one in sittings)
    assert facts["seconds"] == pytest.approx(sum(one["seconds"] for one in sittings))
    assert facts["peak_rss_mb"] == max(one["peak_rss_mb"] for one in sittings)
    assert facts["threads"] == torch.get_num_threads()
    assert (facts["device"], facts["features"]) == ("cpu", {"made": 0.0, "found": 0.0})
    assert "core" in facts["machine"]
    assert {path.name for path in store.path(cell()).iterdir()} == {"cell.json", "predictions.npz"}


def _sit_for_ever(folder):
    def compute(_):
        time.sleep(600)

    Cells(folder).get(cell(), compute)


def test_a_sitting_that_is_killed_counts(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_sit_for_ever, args=(tmp_path,))
    process.start()
    noted, deadline = 0.0, time.monotonic() + 120
    while noted == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
        for note in tmp_path.glob("work/*/sittings/0.json"):
            noted = json.loads(note.read_text())["seconds"]
    process.kill()
    process.join()
    facts = Cells(tmp_path).get(cell(), counting([])).facts
    assert noted > 0
    assert facts["seconds"] >= noted
    assert len(facts["sittings"]) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [("cell.json", b"{"), ("cell.json", b"[]"), ("predictions.npz", b"PK"), ("predictions.npz", b""),
     ("predictions.npz", None)],
)  # fmt: skip
def test_a_damaged_cell_is_named(tmp_path, name, content):
    store = Cells(tmp_path)
    folder = store.get(cell(), counting([])).folder
    if content is None:
        whole = (folder / name).read_bytes()
        content = whole[: len(whole) // 2]
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{folder}: this cell cannot be read .* delete it to compute it again"):
        store.get(cell(), counting([]))


def test_a_cell_in_the_place_of_another_is_refused(tmp_path):
    store = Cells(tmp_path)
    folder = store.get(cell(), counting([])).folder
    other = cell(code="2")
    folder.rename(store.path(other))
    with pytest.raises(DataError, match="is the cell of other inputs or settings"):
        store.read(other)


def _hold(folder, ready, done):
    with Cells(folder).locked():
        ready.set()
        done.wait(60)


def test_two_processes_do_not_share_cells(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(DataError, match="another process works on these cells"), Cells(tmp_path).locked():
            pass
    finally:
        done.set()
        process.join(60)
    with Cells(tmp_path).locked():
        pass
