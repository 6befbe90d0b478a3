"""The accuracy of all methods across scales in one Markdown file, whose tables can be pasted into other pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pixnet.evaluation.accuracy import comparison, titled
from pixnet.evaluation.report.markdown import provenance
from pixnet.evaluation.report.parts import DASH, Table, interval, number, percent
from pixnet.evaluation.scale_scores import CEILING
from pixnet.evaluation.scale_tables import closing_tables, group_title, groups_of, lead_of, scales_table, title_of

_AT = ("other donors", "truth", "log")
"""The group that is told in full at the size of training: log-normalised shares are what an evaluation scores too."""


def scales_accuracy_page(every: Sequence[dict[str, Any]], command: str) -> str:
    """Give, of each tissue and size of training, the scores against the truth, comparisons and costs.

    Parameters
    ----------
    every
        From `pixnet.evaluation.scale_run.run_scales`.
    command
        What was typed, for the record.
    """
    cells = [cell for results in every for of_method in results["cells"].values() for cell in of_method]
    lines = ["# Virtual tissue across scales", "", provenance(command, cells)]
    for results in every:
        name, groups = title_of(results), groups_of(results)
        lines += ["", f"# {name}", "", lead_of(results)]
        against_truth = {group: rows for group, rows in groups.items() if group[1] == "truth"}
        tables = [replace(scales_table(rows), title=group_title(group)) for group, rows in against_truth.items()]
        row = at_training(groups[_AT], results["settings"]["sizes_um"])
        found = comparison(row["paired"], row["methods"])
        tables += [_in_full(row), *(replace(one, title=f"{one.title}, {row['regions']}") for one in found)]
        for table in (*tables, *closing_tables(results)):
            lines += ["", *titled(table)]
    return "\n".join(lines) + "\n"


def at_training(rows: Sequence[dict[str, Any]], sizes_um: Sequence[float]) -> dict[str, Any]:
    """Give the row of the regions whose size is nearest to that of (the first of) the training regions."""
    sized = [row for row in rows if "µm" in row["regions"]]
    return min(sized, key=lambda row: abs(math.log(float(row["regions"].partition("-")[0]) / sizes_um[0])))


def _in_full(row: dict[str, Any]) -> Table:
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
    title = f"{group_title(_AT)}, {row['regions']}"
    return Table(columns, rows, note, main, title=title)
