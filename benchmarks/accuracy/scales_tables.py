"""The scores across scales as tables to read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pixnet.evaluation.report.markdown import noted_table

from benchmarks.accuracy.accuracy import titled
from pixnet.demo.ask import BIN_UM, SQUARE_UM
from pixnet.demo.regions import SIDES
from pixnet.demo.scores import CEILING, is_crop_method
from pixnet.evaluation.report.parts import DASH, Table, distinct, duration, memory, number, over_interval

TARGETS = {"truth": "noise-free truth", "measured": "counts"}
KINDS = {"counts": "expected counts per region", "log": "log(1 + counts per 10,000)"}
_MAIN = "pixnet"

Group = tuple[str, str, str]
"""Side, target and kind."""


def groups_of(results: dict[str, Any]) -> dict[Group, list[dict[str, Any]]]:
    """Give the scores by side, target and kind; of each, a row for every size. Slides that none learned from first."""
    groups: dict[Group, list[dict[str, Any]]] = {}
    for row in sorted(results["scores"], key=lambda row: row["side"] == SIDES[0]):
        groups.setdefault((row["side"], row["target"], row["kind"]), []).append(row)
    return groups


def title_of(results: dict[str, Any]) -> str:
    """Say what was trained on."""
    sizes = " and ".join(f"{size:g}" for size in results["settings"]["sizes_um"])
    return f"Virtual {results['settings']['preset']}, trained on regions of {sizes} µm"


def group_title(group: Group) -> str:
    """Say what was scored, where and against what."""
    side, target, kind = group
    return f"{side.capitalize()}: {KINDS[kind]}, against {TARGETS[target]}"


def lead_of(results: dict[str, Any]) -> str:
    """Say how much there is of everything, and what the score is."""
    settings = results["settings"]
    return (
        f"Virtual tissue, version {settings['virtual_version']}; {len(settings['training'])} training slides and "
        f"{len(settings['test'])} of other donors, {settings['side_um']:g} µm a side; {len(results['genes'])} genes; "
        f"seed{'s' * (len(results['seeds']) > 1)} {', '.join(map(str, results['seeds']))}. PCC@M with 95 % intervals "
        "over redrawn blocks of each slide, which keep the donors and the seeds as they are."
    )


def scales_page(results: dict[str, Any]) -> str:
    """Give everything that was scored, as Markdown."""
    lines = [f"# {title_of(results)}", "", lead_of(results)]
    for group, rows in groups_of(results).items():
        lines += ["", f"## {group_title(group)}"]
        for table in group_tables(group, rows):
            lines += ["", *noted_table(table)]
    for table in closing_tables(results):
        lines += ["", *titled(table)]
    return "\n".join(lines) + "\n"


def scales_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Give a table of one group: methods down, sizes of regions across.

    Below the scores stand, of pixnet and its variants, the ratio to the best crop method and, but for slides that were
    trained on, the share of the ceiling.
    """
    names = list(rows[0]["methods"])
    found = [[name, *(_score(row["methods"][name]) for row in rows)] for name in names]
    for name in names:
        if name.partition(":")[0] != _MAIN:
            continue
        for title, key in (("over the best crop method", "ratio"), ("share of the ceiling", "share")):
            quotients = [row["methods"][name][key] for row in rows]
            if None not in quotients:
                found.append([f"{name}, {title}", *(_quotient(one) for one in quotients)])
    if any(is_crop_method(name) for name in names):
        found.append(["the best crop method", *(row["best_crop"] for row in rows)])
    return Table(["method", *(row["regions"] for row in rows)], found, _explained(rows))


def errors_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Give the mean squared errors of one group of log-normalised values: methods down, sizes of regions across."""
    names = list(rows[0]["methods"])
    found = [[name, *(number(row["methods"][name]["mse"]) for row in rows)] for name in names]
    note = (
        "Squared error of log(1 + counts per 10,000), which asks for the right level and contrast too. The smaller the "
        "region, the less is known of it, and who predicts as much contrast as there is pays for it; who predicts "
        "little does not."
    )
    return Table(["MSE", *(row["regions"] for row in rows)], found, note)


def group_tables(group: Group, rows: Sequence[dict[str, Any]]) -> list[Table]:
    """Give the tables of one group. The errors of counts would be those of the capture, so they are left out."""
    return [scales_table(rows), *([errors_table(rows)] if group[2] == "log" else [])]


def _explained(rows: Sequence[dict[str, Any]]) -> str:
    """Say what is to be known of the methods, the ceiling and whole cells."""
    names = list(rows[0]["methods"])
    words = []
    if crops := [name for name in names if is_crop_method(name)]:
        words.append(
            f"Crop methods ({', '.join(crops)}) predict a region of any size from the 112-µm crop round its centre; "
            "the best of them is the one with the best score here."
        )
    if rows[0]["side"] == SIDES[0]:
        words.append(
            "The ceiling knows no counts. Methods have seen those of these slides, so it does not bound them here."
        )
    if rows[0]["kind"] == "counts" and "mean" in names:
        words.append("Every method is told how large a region is; what that is worth for whole cells, the mean shows.")
    return " ".join(words)


def costs_table(results: dict[str, Any]) -> Table:
    """Give what one training and all predictions cost, with image features that are made for it alone."""
    rows = []
    for name, cells in results["cells"].items():
        if name == CEILING:
            continue
        own = sum(cell["seconds"] for cell in cells) / len(cells)
        found = [cell.get("features", {}).get("found", 0.0) for cell in cells]
        shared = math.nan if None in found else sum(found) / len(found)
        costs = [duration(own + shared), duration(shared), memory(max(cell["peak_rss_mb"] for cell in cells))]
        rows.append([name, *costs, *(distinct(cell.get(key) for cell in cells) for key in ("device", "threads"))])
    note = (
        "Mean over seeds: one training and the predictions for all slides, its image features made from cold. Of it "
        "shared: making features that were found ready, since another seed or run had made them."
    )
    return Table(["method", "time", "of it shared", "peak memory", "device", "threads"], rows, note)


def additivity_table(results: dict[str, Any]) -> Table:
    """Give how far sums of small regions are from large ones; no rows if no field was asked."""
    rows = []
    for name, cells in results["cells"].items():
        errors = [cell["chosen"]["additivity_error"] for cell in cells if "additivity_error" in cell.get("chosen", {})]
        if errors:
            known = [error for error in errors if error is not None]
            rows.append([name, f"{max(known):.1e}" if known else DASH])
    note = (
        f"Bins of {BIN_UM} µm summed to squares of {SQUARE_UM} µm, against what the field gives for the squares: the "
        "largest difference over the largest value, of all genes, slides and seeds. Means (head `mean`) do not add up."
    )
    return Table(["method", "largest difference"], rows, note)


def closing_tables(results: dict[str, Any]) -> list[Table]:
    """Give what stands below the scores on a page: additivity, where a field was asked, and costs."""
    additivity, costs = additivity_table(results), costs_table(results)
    return [
        *([replace(additivity, title="Additivity")] if additivity.rows else []),
        replace(costs, title="Cost of one cell"),
    ]


def headline(results: dict[str, Any]) -> str:
    """Give one line: pixnet's scores on other donors against the truth as expected counts, smallest regions first."""
    side = SIDES[1]
    words = []
    for row in results["scores"]:
        if (row["side"], row["target"], row["kind"]) == (side, "truth", "counts") and _MAIN in row["methods"]:
            one = row["methods"][_MAIN]
            ratio = f", {one['ratio']['value']:.2f} times {row['best_crop']}" if one["ratio"] else ""
            words.append(f"{row['regions']} {one['pcc_m']:.3f} ({one['share']['value']:.2f} of the ceiling{ratio})")
    return f"{results['name']}, {side}: " + ("; ".join(words) or "pixnet was not asked for")


def _score(method: dict[str, Any]) -> str:
    return over_interval(method["pcc_m"], method["interval"])


def _quotient(found: dict[str, Any]) -> str:
    return over_interval(found["value"], found["interval"], 2)
