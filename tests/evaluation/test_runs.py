from __future__ import annotations

import json
import multiprocessing
import time

import numpy as np
import pytest
import torch

from pixnet.errors import DataError
from pixnet.evaluation.runs import Run, RunStore

VALUES = {"A/1": np.arange(6, dtype=np.float32).reshape(2, 3), "B": np.full((1, 3), np.nan, np.float32)}


def run_of(**options):
    return Run("ridge", "A & B", 3, {"samples": {"train:A": "x"}, **options})


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


def test_a_run_is_computed_once_and_stored(tmp_path):
    calls = []
    for _ in range(2):
        stored = RunStore(tmp_path).get(run_of(), counting(calls))
        assert stored.arrays.keys() == VALUES.keys()
        for name, values in VALUES.items():
            np.testing.assert_array_equal(stored.arrays[name], values)
        assert stored.facts["chosen"] == {"penalty": 2.0}
        assert stored.facts["resumed"] is False
        assert (stored.folder / "model" / "weights").is_file()
        assert not (stored.folder / "scratch").exists()
    assert len(calls) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"ridge"}
    assert stored.folder == RunStore(tmp_path).path(run_of())
    assert stored.folder.name == f"A___B-seed3-{run_of().key[:12]}"


def test_results_copy_the_facts_of_a_run_but_not_what_it_depends_on(tmp_path):
    stored = RunStore(tmp_path).get(run_of(), counting([]))
    assert stored.facts["depends_on"] == run_of().depends_on
    assert stored.public_facts.keys() == stored.facts.keys() - {"method", "arrays", "depends_on"}
    assert stored.public_facts["key"] == run_of().key


def test_any_other_input_version_or_setting_is_another_run(tmp_path):
    store = RunStore(tmp_path)
    store.get(run_of(), counting([]))
    for other in (run_of(version=2), run_of(samples={}), Run("ridge", "A & B", 4, run_of().depends_on),
                  Run("mean", "A & B", 3, run_of().depends_on), Run("ridge", "A", 3, run_of().depends_on)):  # fmt: skip
        assert other.key != run_of().key
        assert not store.has(other)


def test_a_computation_that_failed_is_continued(tmp_path):
    calls, store = [], RunStore(tmp_path)
    with pytest.raises(ZeroDivisionError):
        store.get(run_of(), counting(calls, fail=True))
    assert not store.has(run_of())
    assert (calls[0] / "scratch").read_text() == "s"
    stored = store.get(run_of(), counting(calls))
    assert calls[0] == calls[1]
    assert stored.facts["resumed"] is True


def test_a_run_costs_what_all_its_sessions_cost(tmp_path):
    def sleeping(fail):
        def compute(_):
            time.sleep(0.2)
            if fail:
                raise ZeroDivisionError
            return VALUES, {}

        return compute

    store = RunStore(tmp_path)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            store.get(run_of(), sleeping(fail=True))
    facts = store.get(run_of(), sleeping(fail=False)).facts
    sessions = facts["sessions"]
    assert len(sessions) == 3
    assert all(session["seconds"] >= 0.2 for session in sessions)
    assert facts["seconds"] == pytest.approx(sum(session["seconds"] for session in sessions))
    assert facts["peak_rss_mb"] == max(session["peak_rss_mb"] for session in sessions)
    assert facts["threads"] == torch.get_num_threads()
    assert (facts["device"], facts["features"]) == ("cpu", {"made": 0.0, "found": 0.0})
    assert "core" in facts["machine"]
    assert {path.name for path in store.path(run_of()).iterdir()} == {"run.json", "predictions.npz"}


def _run_for_ever(folder):
    def compute(_):
        time.sleep(600)

    RunStore(folder).get(run_of(), compute)


def test_a_session_that_is_killed_counts(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_run_for_ever, args=(tmp_path,))
    process.start()
    recorded, deadline = 0.0, time.monotonic() + 120
    while recorded == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
        for file in tmp_path.glob("work/*/sessions/0.json"):
            recorded = json.loads(file.read_text())["seconds"]
    process.kill()
    process.join()
    facts = RunStore(tmp_path).get(run_of(), counting([])).facts
    assert recorded > 0
    assert facts["seconds"] >= recorded
    assert len(facts["sessions"]) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [("run.json", b"{"), ("run.json", b"[]"), ("predictions.npz", b"PK"), ("predictions.npz", b""),
     ("predictions.npz", None)],
)  # fmt: skip
def test_a_damaged_run_is_named(tmp_path, name, content):
    store = RunStore(tmp_path)
    folder = store.get(run_of(), counting([])).folder
    if content is None:
        whole = (folder / name).read_bytes()
        content = whole[: len(whole) // 2]
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{folder}: this run cannot be read .* delete it to compute it again"):
        store.get(run_of(), counting([]))


def test_facts_of_a_run_that_were_altered_are_noticed_and_older_ones_without_a_digest_are_read(tmp_path):
    store = RunStore(tmp_path)
    path = store.get(run_of(), counting([])).folder / "run.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "seconds": facts["seconds"] + 1}))
    with pytest.raises(DataError, match=r"this run cannot be read .*not as it was written"):
        store.read(run_of())
    del facts["sha256"]
    path.write_text(json.dumps(facts))
    assert store.read(run_of()).facts == facts


def test_a_run_in_the_place_of_another_is_refused(tmp_path):
    store = RunStore(tmp_path)
    folder = store.get(run_of(), counting([])).folder
    other = run_of(version=2)
    folder.rename(store.path(other))
    with pytest.raises(DataError, match="holds a run of other inputs or settings; delete it to compute it again"):
        store.read(other)


def _hold(folder, ready, done):
    with RunStore(folder).locked():
        ready.set()
        done.wait(60)


def test_two_processes_do_not_work_on_the_same_runs(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(DataError, match="is being written by process"), RunStore(tmp_path).locked():
            pass
    finally:
        done.set()
        process.join(60)
    with RunStore(tmp_path).locked():
        pass
