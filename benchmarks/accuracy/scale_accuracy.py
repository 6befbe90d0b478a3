"""The accuracy of all methods across scales in one Markdown file, whose tables can be pasted into other pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.accuracy.accuracy import titled
from benchmarks.accuracy.scale_in_full import full_tables
from benchmarks.accuracy.scales_tables import closing_tables, group_title, groups_of, lead_of, scales_table, title_of
from pixnet.evaluation.report.markdown import provenance


def scales_accuracy_page(every: Sequence[dict[str, Any]], command: str) -> str:
    """Give, of each tissue and size of training, the scores against the truth, comparisons and costs.

    Parameters
    ----------
    every
        From `benchmarks.accuracy.scale_run.run_scales`.
    command
        What was typed, for the record.
    """
    lines = ["# Virtual tissue across scales", "", provenance(command, *(results["cells"] for results in every))]
    for results in every:
        name, groups = title_of(results), groups_of(results)
        lines += ["", f"# {name}", "", lead_of(results)]
        against_truth = {group: rows for group, rows in groups.items() if group[1] == "truth"}
        tables = [replace(scales_table(rows), title=group_title(group)) for group, rows in against_truth.items()]
        for table in (*tables, *full_tables(results), *closing_tables(results)):
            lines += ["", *titled(table)]
    return "\n".join(lines) + "\n"
