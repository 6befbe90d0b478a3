from __future__ import annotations

import subprocess
import sys

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
