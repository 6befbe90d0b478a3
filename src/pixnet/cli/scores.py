"""The table of scores that `pixnet evaluate` prints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_FEW = 6  # folds that are named one by one


def score_lines(results: Mapping[str, Any]) -> list[str]:
    """Lay the scores of an evaluation out in columns, and say below what they are over."""
    columns = _columns(results)
    rows = [["method", *columns]]
    rows += [[name, *(cell(one) for cell in columns.values())] for name, one in results["methods"].items()]
    noise = results["noise_estimate"]
    rows.append(["(noise estimate)", *(_number(noise[key]) for key in ("pcc_f", "pcc_s", "pcc_m"))])
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return [*lines, *_comparisons(results.get("paired")), *_notes(results)]


def _columns(results: Mapping[str, Any]) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    methods = list(results["methods"].values())
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "PCC@F": lambda one: _number(one["pcc_f"]),
        "PCC@S": lambda one: _number(one["pcc_s"]),
        "PCC@M": lambda one: _number(one["pcc_m"]),
        "95% (blocks)": lambda one: _interval(one["interval_blocks"]),
    }
    if any(one["interval_donors"] for one in methods):
        columns["95% (donors)"] = lambda one: _interval(one["interval_donors"])
    if any(len(one["seeds"]) > 1 for one in methods):
        columns["sd of seeds"] = lambda one: _number(one["sd_over_seeds"]["pcc_m"])
    return columns | {
        "of noise": lambda one: f"{one['noise_share']:.0%}" if math.isfinite(one["noise_share"]) else "-",
        "50 variable": lambda one: _number(one["pcc_m_variable"]),
        "Spearman": lambda one: _number(one["spearman_m"]),
        "MSE": lambda one: _number(one["mse"]),
        "MAE": lambda one: _number(one["mae"]),
        "unfiltered": lambda one: _number(one["unfiltered"]["pcc_m"]),
        "seconds": lambda one: _number(one["seconds_cold"], 0),
        "MB": lambda one: _number(one["peak_rss_mb"], 0),
    }


def _comparisons(paired: Mapping[str, Any] | None) -> list[str]:
    """Compare the first method with each other one, a line each."""
    lines = []
    for name, test in paired["against"].items() if paired else ():
        words = [
            f"{paired['method']} / {name}: {_number(test['ratio'])}" if paired else "",
            f"difference {_number(test['difference'])} ({_interval(test['interval'])})",
            f"p = {_number(test['p_bootstrap'])}",
        ]
        if test["folds"] > 1:
            words.append(f"better in {test['folds_better']} of {test['folds']} folds")
        if test["p_wilcoxon"] is not None:
            words.append(f"p = {_number(test['p_sign'])} (signs), {_number(test['p_wilcoxon'])} (Wilcoxon)")
        lines.append(", ".join(words))
    return lines


def _notes(results: Mapping[str, Any]) -> list[str]:
    protocol, one = results["protocol"], next(iter(results["methods"].values()))
    folds = [fold["name"] for fold in protocol["folds"]]
    if "train" in protocol:
        done = f"Trained on {', '.join(protocol['train'])}; scored on {', '.join(protocol['test'])}"
    else:
        listed = f" ({', '.join(folds)})" if len(folds) <= _FEW else ""
        seeds = "1 seed" if len(protocol["seeds"]) == 1 else f"{len(protocol['seeds'])} seeds"
        done = f"{len(folds)} folds{listed}, {seeds}; mean over both"
    genes = one["n_genes"] if isinstance(one["n_genes"], int) else f"{one['n_genes']:.0f}"
    notes = [
        f"{done}: {one['n_regions']} regions, {genes} genes. {results['excluded_regions']} regions are left out "
        f"(fewer than {protocol['min_counts']} counts, or no data); unfiltered: PCC@M with those of few counts.",
    ]
    if one["n_constant_observed"]:
        where = " in all folds together" if len(folds) > 1 else ""
        notes.append(
            f"Genes that do not vary where they were measured: {one['n_constant_observed']}{where}. They have no "
            "correlation (empty in per_gene.csv) and are in no average of it."
        )
    return notes


def _number(value: float | None, digits: int = 3) -> str:
    # Adding 0 makes a rounded -0.000 plain zero.
    return "-" if value is None or not math.isfinite(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _interval(pair: list[float] | None) -> str:
    if not pair or not all(map(math.isfinite, pair)):
        return "-"
    return f"{_number(pair[0])} to {_number(pair[1])}"
