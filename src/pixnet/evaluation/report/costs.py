"""The report's table of what the methods cost."""

from __future__ import annotations

from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.parts import Table, distinct, duration, memory


def costs_table(done: Evaluated) -> Table:
    """Give time and memory of one training and prediction, with image features that are made for it alone."""
    rows = []
    for name, one in done.results["methods"].items():
        cells = done.protocol.get("cells", {}).get(name, [])
        costs = [duration(one.get(key)) for key in ("seconds_cold", "seconds_shared", "seconds")]
        where = [distinct(cell.get(key) for cell in cells) for key in ("device", "threads")]
        rows.append([name, *costs, memory(one.get("peak_rss_mb")), *where])
    columns = ["method", "time of a fold", "of it shared", "spent here", "peak memory", "device", "threads"]
    note = (
        "Mean over folds and seeds, all sittings of one that was broken off; what else ran on the machine counts. "
        "Time of a fold: of one training and prediction with its image features made from cold. Of it shared: the "
        "part that making features took which were found ready, since another fold, seed or run had made them. Spent "
        "here: the rest. Peak memory: the most that the process held, with what earlier cells had left in it."
    )
    return Table(columns, rows, note, done.methods.index(done.main), title="What it costs")
