"""The table of scores that `pixnet evaluate` prints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pixnet.cli.options import table_lines

_MOST_NAMED = 6  # folds; of more, only the number is printed


def score_lines(results: Mapping[str, Any]) -> list[str]:
    """Return the scores in `results.json` as lines of a table, with lines below that say what was scored."""
    columns = _columns(results)
    rows = [["method", *columns]]
    for name, scores in results["methods"].items():
        rows.append([name, *(entry_of(scores) for entry_of in columns.values())])
    noise = results["noise_estimate"]
    noise_entries = [_number(noise[key]) for key in ("pcc_f", "pcc_s", "pcc_m")]
    rows.append(["(noise estimate)", *noise_entries, *[""] * (len(columns) - len(noise_entries))])
    return [*table_lines(rows), *_comparisons(results.get("paired")), *_notes(results)]


def _columns(results: Mapping[str, Any]) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    """Return the title of each column, and the function that returns a method's entry in it."""
    methods = list(results["methods"].values())
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "PCC@F": lambda scores: _number(scores["pcc_f"]),
        "PCC@S": lambda scores: _number(scores["pcc_s"]),
        "PCC@M": lambda scores: _number(scores["pcc_m"]),
        "95% (blocks)": lambda scores: _interval(scores["interval_blocks"]),
    }
    if any(scores["interval_donors"] for scores in methods):
        columns["95% (donors)"] = lambda scores: _interval(scores["interval_donors"])
    if any(len(scores["seeds"]) > 1 for scores in methods):
        columns["sd of seeds"] = lambda scores: _number(scores["sd_over_seeds"]["pcc_m"])
    return columns | {
        "of noise": lambda scores: f"{scores['noise_share']:.0%}" if math.isfinite(scores["noise_share"]) else "-",
        "50 variable": lambda scores: _number(scores["pcc_m_variable"]),
        "Spearman": lambda scores: _number(scores["spearman_m"]),
        "MSE": lambda scores: _number(scores["mse"]),
        "MAE": lambda scores: _number(scores["mae"]),
        "unfiltered": lambda scores: _number(scores["unfiltered"]["pcc_m"]),
        "seconds": lambda scores: _number(scores["seconds_cold"], 0),
        "MB": lambda scores: _number(scores["peak_rss_mb"], 0),
    }


def _comparisons(paired: Mapping[str, Any] | None) -> list[str]:
    """Return lines that compare the first method with each of the others."""
    if not paired:
        return []
    lines = []
    for name, test in paired["against"].items():
        words = [
            f"{paired['method']} / {name}: {_number(test['ratio'])}",
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
    """Return sentences on folds, regions and genes."""
    protocol, scores = results["protocol"], next(iter(results["methods"].values()))
    folds = [fold["name"] for fold in protocol["folds"]]
    if "train" in protocol:
        summary = f"Trained on {', '.join(protocol['train'])}; scored on {', '.join(protocol['test'])}"
    else:
        listed = f" ({', '.join(folds)})" if len(folds) <= _MOST_NAMED else ""
        n_seeds = len(protocol["seeds"])
        seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds"
        summary = f"{len(folds)} folds{listed}, {seeds}; mean over both"
    genes = scores["n_genes"] if isinstance(scores["n_genes"], int) else f"{scores['n_genes']:.0f}"
    notes = [
        f"{summary}: {scores['n_regions']} regions, {genes} genes. {results['excluded_regions']} regions are left out "
        f"(fewer than {protocol['min_counts']} counts, or no data); unfiltered: PCC@M with regions of few counts.",
    ]
    if scores["n_constant_observed"]:
        where = " in all folds together" if len(folds) > 1 else ""
        notes.append(
            f"Genes whose measured values do not vary: {scores['n_constant_observed']}{where}. They have no "
            "correlation (empty in per_gene.csv), and averages of correlations leave them out."
        )
    return notes


def _number(value: float | None, digits: int = 3) -> str:
    # Adding 0 makes a rounded -0.000 plain zero.
    return "-" if value is None or not math.isfinite(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _interval(pair: list[float] | None) -> str:
    if not pair or not all(map(math.isfinite, pair)):
        return "-"
    return f"{_number(pair[0])} to {_number(pair[1])}"
