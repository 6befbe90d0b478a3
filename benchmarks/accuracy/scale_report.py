"""What a benchmark across scales leaves to be read: one HTML file, Markdown, pictures, and everything as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy.scale_curves import draw_group, draw_scales
from benchmarks.accuracy.scale_in_full import full_tables
from benchmarks.accuracy.scales_tables import (
    additivity_table,
    costs_table,
    group_tables,
    group_title,
    groups_of,
    lead_of,
    scales_page,
    title_of,
)
from pixnet.demo.regions import SIDES
from pixnet.evaluation.report.canvas import data_uri
from pixnet.evaluation.report.markdown import provenance
from pixnet.evaluation.report.page import write_page
from pixnet.evaluation.report.parts import Picture, Section, number, percent
from pixnet.evaluation.results import finite

_CAPTION = (
    "PCC@M over the size of the region that is asked for; lines: 95 % intervals, each a little beside its size so that "
    "none hides another. Dashed: the ceiling, the best prediction by someone who knows every cell's type, outline, "
    "niche and donor. A whole cell has no one size and stands by itself."
)


def write_scales(results: dict[str, Any], folder: Path, command: str) -> Path:
    """Write `NAME.html`, `NAME.md`, `NAME.json` and pictures, and give the first; `command` is for the record."""
    folder.mkdir(parents=True, exist_ok=True)
    name = results["name"]
    text = json.dumps(finite(results), indent=1, allow_nan=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(scales_page(results), encoding="utf-8")
    draw_scales(results, folder)
    sections = _sections(results, command)
    return write_page(folder / f"{name}.html", title_of(results), lead_of(results), _headline(results), sections)


def _sections(results: dict[str, Any], command: str) -> list[Section]:
    sections: list[Section] = []
    for group, rows in groups_of(results).items():
        main = list(rows[0]["methods"]).index("pixnet") if "pixnet" in rows[0]["methods"] else None
        tables = [replace(table, emphasis=main) for table in group_tables(group, rows)]
        picture = Picture(data_uri(draw_group(results, rows)), _CAPTION if not sections else "")
        sections.append(Section(group_title(group), tables=tables, pictures=[picture]))
    sections.append(Section("At the size of training", tables=full_tables(results)))
    additivity = additivity_table(results)
    if additivity.rows:
        sections.append(Section("Additivity", tables=[additivity]))
    told = provenance(command, results["cells"])
    sections.append(Section("What it costs", text=[told], tables=[costs_table(results)]))
    rest = {name: value for name, value in results.items() if name != "scores"}
    code = json.dumps(finite(rest), indent=1, ensure_ascii=False)
    return [*sections, Section("Every setting and hash", code=code, folded=True)]


def _headline(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Give pixnet's scores for the smallest and the largest regions, with the truth on slides of other donors."""
    facts = []
    for kind, words in (("counts", "expected counts"), ("log", "log-normalised")):
        rows = groups_of(results).get((SIDES[1], "truth", kind), [])
        sized = [row for row in rows if "µm" in row["regions"] and "pixnet" in row["methods"]]
        for row in sized[:1] + sized[-1:]:
            found = row["methods"]["pixnet"]
            share = percent(found["share"]["value"])
            facts.append((number(found["pcc_m"]), f"{words}, {row['regions']}: {share} of the ceiling"))
    return facts
