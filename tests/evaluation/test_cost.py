from __future__ import annotations

import subprocess
import sys

import torch

from pixnet.evaluation.cost import next_session, record_features, total_cost

COST = """
import time
import numpy as np
from pixnet.evaluation.cost import Cost
with Cost() as little:
    pass
with Cost() as much:
    held = np.ones(30_000_000)
    held += 1
    time.sleep(0.3)
    del held
print(little.peak_rss_mb, much.peak_rss_mb, much.seconds)
"""


def test_the_cost_sees_memory_that_is_gone_at_the_end():
    # A process of its own: in this one the array may fit into memory that earlier tests gave back to malloc alone.
    # Held for a while, because a child begins with its parent's highest mark and only the samples then tell.
    printed = subprocess.run([sys.executable, "-c", COST], check=True, capture_output=True, text=True).stdout  # noqa: S603
    little, much, seconds = map(float, printed.split())
    assert much > little + 150
    assert seconds > 0


def test_a_run_costs_the_sum_over_its_sessions_and_the_peak_of_them(tmp_path):
    for _ in range(2):
        with next_session(tmp_path):
            pass
    cost = total_cost(tmp_path)
    first, second = cost["sessions"]
    assert cost["seconds"] == first["seconds"] + second["seconds"]
    assert cost["peak_rss_mb"] == max(first["peak_rss_mb"], second["peak_rss_mb"])
    assert cost["resumed"] is True
    assert cost["threads"] == torch.get_num_threads()


def test_a_method_that_records_no_features_ran_on_the_cpu_without_any(tmp_path):
    with next_session(tmp_path):
        pass
    cost = total_cost(tmp_path)
    assert cost["resumed"] is False
    assert (cost["device"], cost["features"]) == ("cpu", {"made": 0.0, "found": 0.0})


def test_features_that_a_method_records_are_part_of_the_cost(tmp_path):
    with next_session(tmp_path):
        record_features(tmp_path, "cpu", {"made": 2.0, "found": None})
    cost = total_cost(tmp_path)
    assert (cost["device"], cost["features"]) == ("cpu", {"made": 2.0, "found": None})
