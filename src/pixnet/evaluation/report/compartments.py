"""The report's section on the compartment test."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pixnet.evaluation.compartments.markers import markers
from pixnet.evaluation.compartments.pixels import PITCH_UM, STAINS
from pixnet.evaluation.compartments.table import GROUPS, methods_of
from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.parts import DASH, Section, Table, interval, number, percent


def compartments_section(outcome: Evaluated) -> list[Section]:
    """Show in how many genes the maps follow the stains inside regions as the measured values do between them."""
    found, genes = outcome.results.get("compartments"), outcome.compartments
    if not found or genes is None:
        return []
    text = [
        "Nothing was measured inside a region, but the slide shows where its nuclei and its eosin are. If a gene's "
        "measured values rise with the nuclei from region to region (given the regions' depth), its map should do so "
        f"inside regions: over pixels of {PITCH_UM:g} µm, with the mean of each region taken off. Maps are of log "
        "shares, counts of a gene per 10,000 of all: these say which genes there are more of, whatever the density."
    ]
    return [Section("Inside the regions", text, [_shares(found), *(_markers(genes, stain) for stain in STAINS)])]


def _shares(found: dict[str, Any]) -> Table:
    targets = [f"{group}, {stain}" for group in GROUPS for stain in STAINS]
    ranks = [f"rank, {stain}" for stain in STAINS]
    rows = []
    for method, by_target in found.items():
        shares = [_share(by_target[target]) for target in targets]
        all_genes = [by_target[f"{GROUPS[1]}, {stain}"] for stain in STAINS]
        rows.append([method, *shares, *(number(entry["rank_correlation"], 2) for entry in all_genes)])
    note = (
        "Genes whose correlation inside regions has the right sign, of those whose partial correlation between regions "
        "is clear: its 95 % interval over redrawn spatial blocks excludes 0. In brackets the Wilson interval of the "
        "share, which takes genes as independent; they vary together, so it is too narrow rather than too wide. Rank: "
        "Spearman's correlation, over all genes, of the correlations inside with those between regions. First seed."
    )
    return Table(["method", *targets, *ranks], rows, note)


def _share(entry: dict[str, Any]) -> str:
    if not entry["genes"]:
        return DASH
    low, high = entry["interval"]
    return f"{entry['right']} of {entry['genes']}, {percent(entry['right_sign'])}\n({percent(low)} to {percent(high)})"


def _markers(genes: pd.DataFrame, stain: str) -> Table:
    """List the markers of the panel: means over samples, and in how many samples the sign is clear and right."""
    own = genes[(genes["stain"] == stain) & (genes["compartment"].fillna("") != "")]
    methods, samples = methods_of(genes), genes[["fold", "sample"]].drop_duplicates()
    rows = []
    for gene in markers():
        part = own[own["gene"] == gene]
        if part.empty:
            continue
        clear = part["clear"].to_numpy(bool)
        entries = [number(part["between"].mean(), 2)]
        entries.append(interval((part["low"].iloc[0], part["high"].iloc[0]), 2) if len(samples) == 1 else "")
        entries.append(f"{clear.sum()} of {len(part)}")
        for method in methods:
            inside = part[f"within {method}"]
            right = ((inside > 0) == (part["between"] > 0)).to_numpy()[clear]
            entries.append(number(inside.mean(), 2) + (f" ({right.sum()} right)" if clear.any() else ""))
        rows.append([gene, markers()[gene].compartment, *entries])
    columns = ["gene", "marks", "between", "95 %", "clear", *(f"inside, {method}" for method in methods)]
    if len(samples) > 1:
        columns, rows = [name for name in columns if name != "95 %"], [[*row[:3], *row[4:]] for row in rows]
    note = (
        "Between: partial correlation of measured log values over regions, given depth. Inside: correlation of the "
        "map inside regions, in brackets where the sign is clear in how many samples it is right."
        + (" Means over samples." if len(samples) > 1 else "")
        + (" No marker is in the panel." if not rows else "")
    )
    return Table(columns, rows, note, words=2, title=f"Markers of compartments and {stain}")
