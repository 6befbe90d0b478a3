"""The page of the benchmark over shifted donors of virtual tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.accuracy.donors_plan import SPOTS, DonorsPlan
from benchmarks.accuracy.pages import Facts, write_tables
from pixnet.demo.regions import SIDES
from pixnet.demo.scores import CEILING, is_opponent
from pixnet.demo.targets import MEASURED, TRUTH
from pixnet.evaluation.report.grid import Column, Where, beside, comparison_table, score_table
from pixnet.evaluation.report.parts import Table, provenance
from pixnet.evaluation.report.tables import costs_table
from pixnet.scoring.table import Scores

_TARGETS = {
    "shares": f"{MEASURED} log",
    "counts": f"{MEASURED} counts",
    "shares, noise-free truth": f"{TRUTH} log",
    "counts, noise-free truth": f"{TRUTH} counts",
}
_WHERE = {"fold": SIDES[1], "regions": SPOTS}
_RATIO = "ratio vs best opponent"


def write_donors_page(out: Path, done: Sequence[tuple[DonorsPlan, Facts, Scores]], command: str) -> Path:
    """Write `accuracy.md` and `accuracy.html` with the tables of every preset, and return the first."""
    plan, *_ = done[0]
    settings = plan.folds[0].settings
    lead = (
        f"Virtual tissue with shifts between donors, version {settings.facts()['virtual_version']}. Each of "
        f"{len(plan.folds)} donors is left out in turn, and its {SPOTS}s are predicted after training on the others. "
        f"Each donor has one slide of {settings.side_um:g} µm a side; {settings.genes} genes. PCC@M is averaged over "
        "donors and seeds, with 95 % intervals over redrawn blocks of each slide, which keep the donors as they are."
    )
    tables = [table for plan, facts, scores in done for table in _tables(plan, facts, scores)]
    made = provenance(command, *(facts for _, facts, _ in done))
    return write_tables(out, "accuracy", "Virtual tissue, one donor left out", lead, made, tables)


def _tables(plan: DonorsPlan, facts: Facts, scores: Scores) -> list[Table]:
    """Return scores, comparisons, scores by donor and costs of one preset."""
    title = plan.preset.capitalize()
    methods: dict[str, Where] = {name: {"method": name} for name in (*facts, CEILING)}
    others = [name for name in facts if is_opponent(name)]
    table = score_table(scores, "method", methods, _columns("pcc_m"))
    rows, compared, note = list(table.rows), [], "Shares are log(1 + counts per 10,000)."
    if "pixnet" in facts and others:
        rows += score_table(scores, "", {"pixnet over the best opponent": {"method": "pixnet"}}, _columns(_RATIO)).rows
        rows.append(["the best opponent", *(_best(scores, others, target) for target in _TARGETS.values())])
        note += f" The best opponent is the best of {', '.join(others)} in that column."
        for name in ("shares", "counts"):
            comparison = comparison_table(scores, "pixnet", others, target=_TARGETS[name], **_WHERE)
            compared.append(replace(comparison, title=f"{title}: pixnet against the others, {name}"))
    where = {"target": _TARGETS["shares"], **_WHERE}
    columns = {name: Column({"metric": "pcc_m", "sample": name, **where}) for name in scores.values("sample", **where)}
    columns["MSE, all donors"] = Column({"metric": "mse", **where})
    by_donor = replace(score_table(scores, "method", methods, columns), title=f"{title}: shares by left-out slide")
    costs = replace(costs_table(facts, list(facts), next(iter(facts))), title=f"{title}: costs")
    return [replace(table, rows=rows, note=note, title=title, emphasis=0), *compared, by_donor, costs]


def _columns(metric: str) -> dict[str, Column]:
    return {name: Column({"metric": metric, "target": target, **_WHERE}, beside) for name, target in _TARGETS.items()}


def _best(scores: Scores, methods: Sequence[str], target: str) -> str:
    return max(methods, key=lambda name: scores.value(name, "pcc_m", target=target, **_WHERE))
