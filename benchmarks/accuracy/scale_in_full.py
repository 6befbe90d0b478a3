"""The scores on other donors at the size of training, in full: all correlations, each slide, each paired test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.accuracy.accuracy import comparison
from benchmarks.accuracy.scales_tables import group_title, groups_of
from pixnet.demo.regions import SIDES
from pixnet.demo.scores import CEILING
from pixnet.evaluation.report.parts import DASH, Table, interval, number, percent

_AT = (SIDES[1], "truth", "log")
"""The group that is told in full: log-normalised shares are what an evaluation scores too."""


def full_tables(results: dict[str, Any]) -> list[Table]:
    """Give the tables of the regions whose size is nearest to that of training."""
    row = at_training(groups_of(results)[_AT], results["settings"]["sizes_um"])
    tests = comparison(row["paired"], row["methods"])
    slides = [f"{results['settings']['preset']}-{slide}" for slide, _ in results["settings"]["test"]]
    return [
        _scores(row),
        _by_slide(row, slides),
        *(replace(one, title=f"{one.title}, {row['regions']}") for one in tests),
    ]


def at_training(rows: Sequence[dict[str, Any]], sizes_um: Sequence[float]) -> dict[str, Any]:
    """Give the row of the regions whose size is nearest to that of (the first of) the training regions."""
    sized = [row for row in rows if "µm" in row["regions"]]
    return min(sized, key=lambda row: abs(math.log(float(row["regions"].partition("-")[0]) / sizes_um[0])))


def _scores(row: dict[str, Any]) -> Table:
    rows = []
    for name, one in row["methods"].items():
        share = DASH if name == CEILING else percent(one["share"]["value"])
        scores = [f"{number(one['pcc_m'])} ({interval(one['interval'])})", number(one["sd_over_seeds"])]
        rows.append([name, *scores, *(number(one[key]) for key in ("pcc_s", "pcc_f", "mse")), share])
    columns = ["method", "PCC@M (95 %)", "sd over seeds", "PCC@S", "PCC@F", "MSE", "share of the ceiling"]
    note = (
        "Means over slides and seeds; the intervals leave out the variance of seeds. MSE: of log(1 + counts per "
        "10,000)."
    )
    main = next((number for number, name in enumerate(row["methods"]) if name == "pixnet"), None)
    return Table(columns, rows, note, main, title=f"{group_title(_AT)}, {row['regions']}")


def _by_slide(row: dict[str, Any], slides: Sequence[str]) -> Table:
    rows = [[name, *map(number, one["per_slide"])] for name, one in row["methods"].items()]
    return Table(["method", *slides], rows, title=f"PCC@M by slide, {row['regions']}")
