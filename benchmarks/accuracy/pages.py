"""The pages of the benchmarks of accuracy, as Markdown and HTML, all made from the long table of scores."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy.protocol_plan import ProtocolPlan
from benchmarks.accuracy.scales_plan import ScalesPlan
from pixnet.demo.curves import draw_sizes
from pixnet.demo.predictions import BIN_UM, SQUARE_UM
from pixnet.demo.regions import SIDES
from pixnet.demo.scores import CEILING, is_crop_method
from pixnet.demo.targets import KINDS, TARGETS
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.report.canvas import data_uri
from pixnet.evaluation.report.grid import (
    Column,
    Where,
    below,
    beside,
    comparison_table,
    ends,
    p,
    score_table,
    share,
    value,
)
from pixnet.evaluation.report.page import write_page
from pixnet.evaluation.report.parts import (
    DASH,
    Picture,
    Section,
    Table,
    noted_table,
    number,
    percent,
    provenance,
)
from pixnet.evaluation.report.tables import accuracy_table, axes_table, costs_table, fold_table, method_table
from pixnet.evaluation.summary import main_method
from pixnet.files import write_whole
from pixnet.scoring.table import Scores

Facts = Mapping[str, Sequence[Mapping[str, Any]]]
"""By method, the facts of its runs, from `Results.facts`."""

_TARGETS = dict(zip(TARGETS, ("noise-free truth", "counts"), strict=True))
_KINDS = dict(zip(KINDS, ("expected counts per region", "log(1 + counts per 10,000)"), strict=True))
_CAPTION = (
    "PCC@M over the size of the region that is predicted; vertical lines: 95 % intervals, drawn a little beside the "
    "size so that none hides another. Dashed: the ceiling, the best prediction from the type, outline, niche and donor "
    "of every cell. A whole cell has no single size and is drawn apart."
)


def write_protocol_page(
    out: Path, title: str, plan: ProtocolPlan, facts: Facts, scores: Scores, command: str, merged: Scores | None = None
) -> Path:
    """Write `accuracy.md` and `accuracy.html` of an evaluation by a protocol, and return the first."""
    protocol, methods = plan.protocols[""], list(facts)
    main = main_method(methods)
    folds = [fold.name for fold in protocol.folds]
    lead = (
        f"{len(folds)} folds ({', '.join(folds)}), seeds {', '.join(map(str, protocol.seeds))}; "
        f"{scores.value(main, 'n_regions'):.0f} regions scored, {len(protocol.folds[0].genes)} genes. "
        + _donors(protocol)
    )
    others = [name for name in methods if name != main]
    best = max(others, key=lambda name: scores.value(name, "pcc_m"))
    note = (
        f"Ratio and difference of PCC@M; in bold against the best of the others, {best}. 95 % interval and p "
        "(two-sided) from redrawn spatial blocks, both methods on the same draws."
    )
    comparison = comparison_table(scores, main, others)
    tables = [
        accuracy_table(scores, methods, main),
        replace(comparison, title=f"{main} against the others", note=note, emphasis=others.index(best)),
        axes_table(scores, methods, main),
        fold_table(scores, methods, folds),
        *([_merged_table(merged, methods, main)] if merged else []),
        costs_table(facts, methods, main),
    ]
    return write_tables(out, "accuracy", title, lead, provenance(command, facts), tables)


def write_ablations_page(
    out: Path, changes: Mapping[str, Mapping[str, Any]], facts: Facts, scores: Scores, command: str
) -> Path:
    """Write `ablations.md` and `ablations.html`, and return the first."""
    columns = {
        "PCC@M (95 %)": Column({"metric": "pcc_m"}, beside),
        "sd over seeds": Column({"metric": "sd of pcc_m"}),
        "MSE": Column({"metric": "mse"}),
    }
    variants: dict[str, Where] = {name or "default": {"method": "pixnet", "variant": name} for name in changes}
    table = score_table(scores, "variant", variants, columns)
    against = {
        "default minus variant": Column({}, value()),
        "95 %": Column({}, ends),
        "p": Column({"metric": "p"}, p),
    }
    rows = []
    for row, (name, changed) in zip(table.rows, changes.items(), strict=True):
        words = ", ".join(f"{key} = {setting}" for key, setting in changed.items()) or "none"
        compared = [DASH] * len(against)
        if name:
            metrics = {title: Column({"metric": f"{column.where.get('metric', 'difference')} vs pixnet:{name}"},
                                     column.show) for title, column in against.items()}  # fmt: skip
            compared = score_table(scores, "", {name: {"method": "pixnet"}}, metrics).rows[0][1:]
        rows.append([row[0], words, *row[1:], *compared])
    note = "PCC@M, and the default's minus the variant's, with 95 % intervals over redrawn blocks."
    shown = Table([table.columns[0], "changes", *table.columns[1:], *against], rows, note, words=2)
    costs = costs_table(facts, list(facts), "pixnet")
    return write_tables(out, "ablations", "Ablations", "", provenance(command, facts), [shown, costs])


def write_scales_page(out: Path, plan: ScalesPlan, facts: Facts, scores: Scores, command: str) -> Path:
    """Write `NAME.md`, `NAME.html` and pictures of one virtual tissue and size of training, and return the second."""
    title, lead = _scales_title(plan), _scales_lead(plan, scores)
    sections, tables = [], []
    for side in reversed(SIDES):
        for target, target_name in _TARGETS.items():
            for kind, kind_name in _KINDS.items():
                where = {"fold": side, "target": f"{target} {kind}"}
                name = f"{side.capitalize()}: {kind_name}, against {target_name}"
                own = _group_tables(scores, where, kind)
                tables += [replace(own[0], title=name), *own[1:]]
                picture = data_uri(_draw(plan, scores, where, kind_name, target_name))
                caption = _CAPTION if not sections else ""
                sections.append(Section(name, tables=own, pictures=[Picture(picture, caption)]))
                if target == TARGETS[0]:
                    out.mkdir(parents=True, exist_ok=True)
                    path = out / f"{plan.name}-{side.replace(' ', '-')}-{kind}.png"
                    path.write_bytes(base64.b64decode(picture.partition(",")[2]))
    closing = _closing_tables(plan, facts, scores)
    sections.append(Section("Details and costs", tables=closing))
    write_tables(out, plan.name, title, lead, provenance(command, facts), [*tables, *closing], html=False)
    return write_page(out / f"{plan.name}.html", title, lead, _headline_facts(scores), sections)


def write_scales_accuracy(path: Path, done: Sequence[tuple[ScalesPlan, Facts, Scores]], command: str) -> None:
    """Write the scores against the truth, comparisons and costs of all tissues and sizes of training into one page."""
    lines = ["# Virtual tissue across scales", "", provenance(command, *(facts for _, facts, _ in done))]
    for plan, facts, scores in done:
        lines += ["", f"# {_scales_title(plan)}", "", _scales_lead(plan, scores)]
        for side in reversed(SIDES):
            for kind, name in _KINDS.items():
                table = _group_tables(scores, {"fold": side, "target": f"{TARGETS[0]} {kind}"}, kind)[0]
                lines += _titled(replace(table, title=f"{side.capitalize()}: {name}, against the noise-free truth"))
        for table in _closing_tables(plan, facts, scores):
            lines += _titled(table)
    write_whole(path, "\n".join(lines) + "\n")


def headline(plan: ScalesPlan, scores: Scores) -> str:
    """Return one line: PixNet's scores on other donors against the truth as expected counts, smallest regions first."""
    where = {"fold": SIDES[1], "target": f"{TARGETS[0]} {KINDS[0]}"}
    words = []
    for regions in scores.values("regions", **where):
        own = {**where, "regions": regions}
        score, ratio = (scores.value("pixnet", metric, **own) for metric in ("pcc_m", "ratio vs best crop"))
        if math.isfinite(score):
            over = f", {ratio:.2f} times {_best_crop(scores, own)}" if math.isfinite(ratio) else ""
            words.append(f"{regions} {score:.3f} ({scores.value('pixnet', 'share', **own):.2f} of the ceiling{over})")
    return f"{plan.name}, {SIDES[1]}: " + ("; ".join(words) or "pixnet was not evaluated")


def write_tables(
    out: Path, name: str, title: str, lead: str, made: str, tables: Sequence[Table], html: bool = True
) -> Path:
    """Write a page of tables, `NAME.md` and, if wanted, `NAME.html`, and return the first.

    `lead` is its first paragraph, and `made` says how and when the scores were made.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines = [f"# {title}", "", made, *(["", lead] if lead else [])]
    for table in tables:
        lines += _titled(table) if table.title else ["", *noted_table(table)]
    write_whole(out / f"{name}.md", "\n".join(lines) + "\n")
    if html:
        write_page(out / f"{name}.html", title, f"{lead} {made}", [], [Section("", tables=tables)])
    return out / f"{name}.md"


def _donors(protocol: Protocol) -> str:
    """Return a sentence on donors that are on both sides of a fold."""
    donors = {name: sample.donor for name, sample in protocol.samples.items()}
    pairs = [({donors[name] for name in fold.train}, {donors[name] for name in fold.test}) for fold in protocol.folds]
    shared = sorted({str(donor) for train, test in pairs for donor in train & test if donor is not None})
    if shared:
        return f"Donors on both sides of a fold: {', '.join(shared)}, so the scores say nothing about new donors."
    if None in donors.values():
        return "The donors of some samples are not known, so the scores may say nothing about new donors."
    return "No donor is on both sides of a fold."


def _titled(table: Table) -> list[str]:
    return ["", f"## {table.title}", "", *noted_table(table)]


def _merged_table(scores: Scores, methods: Sequence[str], main: str) -> Table:
    (regions,) = scores.values("regions")
    (seed,) = scores.values("seed")
    where = {"regions": regions, "seed": seed}
    columns = {
        "PCC@M (95 %)": Column({"metric": "pcc_m", **where}, beside),
        "MSE": Column({"metric": "mse", **where}),
    }
    count = scores.value(main, "n_regions", **where)
    note = f"{count:.0f} merged regions in all folds, seed {seed}, with 95 % intervals over redrawn blocks."
    table = method_table(scores, methods, main, columns, note, noise=False)
    return replace(table, title=f"Merged regions: blocks of {regions}")


def _scales_title(plan: ScalesPlan) -> str:
    sizes = " and ".join(f"{size:g}" for size in plan.settings.sizes_um)
    return f"Virtual {plan.settings.preset}, trained on regions of {sizes} µm"


def _scales_lead(plan: ScalesPlan, scores: Scores) -> str:
    settings = plan.settings
    seeds = scores.values("seed")
    return (
        f"Virtual tissue, version {settings.facts()['virtual_version']}; {len(settings.training)} training slides "
        f"and {len(settings.test)} of other donors, {settings.side_um:g} µm a side; {settings.genes} genes; "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}. PCC@M with 95 % intervals over redrawn blocks of each "
        "slide, which keep the donors and the seeds as they are."
    )


def _methods(scores: Scores) -> dict[str, Where]:
    """Return the keys of every method and variant, the ceiling last."""
    pairs = scores.frame[["method", "variant"]].drop_duplicates().itertuples(index=False)
    named: dict[str, Where] = {
        f"{method}:{variant}" if variant else str(method): {"method": method, "variant": variant}
        for method, variant in pairs
    }
    return {name: where for name, where in named.items() if name != CEILING} | {CEILING: {"method": CEILING}}


def _best_crop(scores: Scores, where: Where) -> str:
    crops = [name for name in _methods(scores) if is_crop_method(name.partition(":")[0])]
    return max(crops, key=lambda name: scores.value(name, "pcc_m", **where), default=DASH)


def _group_tables(scores: Scores, where: Where, kind: str) -> list[Table]:
    """Return the tables of one group of slides and target: methods down, sizes of regions across.

    Below the scores are, of PixNet and its variants, the ratio to the best crop method and the share of the ceiling.
    The errors of counts would be those of the capture, so they are left out.
    """
    regions = scores.values("regions", **where)
    methods = _methods(scores)
    columns = {name: Column({"metric": "pcc_m", "regions": name, **where}, below()) for name in regions}
    table = score_table(scores, "method", methods, columns)
    rows = list(table.rows)
    for name, keys in methods.items():
        if keys["method"] != "pixnet":
            continue
        for title, metric in (("over the best crop method", "ratio vs best crop"), ("share of the ceiling", "share")):
            quotients = {key: Column({"metric": metric, "regions": key, **where}, below(2)) for key in regions}
            row = score_table(scores, "", {f"{name}, {title}": keys}, quotients).rows[0]
            if any(entry != DASH for entry in row[1:]):
                rows.append(row)
    crops = [name for name in methods if is_crop_method(name.partition(":")[0])]
    words = []
    if crops:
        rows.append(["the best crop method", *(_best_crop(scores, {**where, "regions": name}) for name in regions)])
        words.append(
            f"Crop methods ({', '.join(crops)}) predict a region of any size from the 112-µm crop round its centre; "
            "the best of them is the one with the best score here."
        )
    if where["fold"] == SIDES[0]:
        words.append("The ceiling knows no counts. Methods have seen those of these slides, so it is no bound here.")
    if kind == KINDS[0] and "mean" in methods:
        words.append("Every method is given the area of a region; the mean shows what that is worth for whole cells.")
    tables = [replace(table, rows=rows, note=" ".join(words), emphasis=_place(methods, "pixnet"))]
    if kind == KINDS[1]:
        errors = {name: Column({"metric": "mse", "regions": name, **where}) for name in regions}
        note = (
            "Squared error of log(1 + counts per 10,000), which asks for the right level and contrast too. The smaller "
            "the region, the less is known of it: a method that predicts as much contrast as there is pays for it, and "
            "one that predicts little does not."
        )
        tables.append(replace(score_table(scores, "MSE", methods, errors), note=note))
    return tables


def _closing_tables(plan: ScalesPlan, facts: Facts, scores: Scores) -> list[Table]:
    """Return scores on other donors at the size of training in full, additivity, and costs."""
    where = {"fold": SIDES[1], "target": f"{TARGETS[0]} {KINDS[1]}"}
    sized = [name for name in scores.values("regions", **where) if "µm" in name]
    size = plan.settings.sizes_um[0]
    regions = min(sized, key=lambda name: abs(math.log(float(name.partition("-")[0]) / size)))
    where |= {"regions": regions}
    methods = _methods(scores)
    columns = {
        "PCC@M (95 %)": Column({"metric": "pcc_m", **where}, beside),
        "sd over seeds": Column({"metric": "sd of pcc_m", **where}),
        "PCC@S": Column({"metric": "pcc_s", **where}),
        "PCC@F": Column({"metric": "pcc_f", **where}),
        "MSE": Column({"metric": "mse", **where}),
        "share of the ceiling": Column({"metric": "share", **where}, share),
    }
    name = f"{SIDES[1].capitalize()}: {_KINDS[KINDS[1]]}, against the noise-free truth, {regions}"
    slides = {
        slide: Column({"metric": "pcc_m", "sample": slide, **where}) for slide in scores.values("sample", **where)
    }
    tables = [
        replace(score_table(scores, "method", methods, columns), title=name, emphasis=_place(methods, "pixnet")),
        replace(score_table(scores, "method", methods, slides), title=f"PCC@M by slide, {regions}"),
    ]
    others = [name for name, keys in methods.items() if keys["method"] not in ("pixnet", CEILING)]
    if "pixnet" in methods and others:
        comparison = comparison_table(scores, "pixnet", others, **where)
        tables.append(replace(comparison, title=f"pixnet against the others, {regions}"))
    errors = {name: [run["chosen"]["additivity_error"] for run in runs if "additivity_error" in run["chosen"]]
              for name, runs in facts.items()}  # fmt: skip
    shown = [[name, _largest(found)] for name, found in errors.items() if found]
    if shown:
        note = (
            f"Bins of {BIN_UM} µm summed to squares of {SQUARE_UM} µm, against what the field holds for the squares: "
            "the largest difference over the largest value, of all genes, slides and seeds. Means (head `mean`) do "
            "not add up."
        )
        tables.append(Table(["method", "largest difference"], shown, note, title="Additivity"))
    return [*tables, costs_table(facts, list(facts), next(iter(facts)))]


def _largest(errors: Sequence[float | None]) -> str:
    known = [error for error in errors if error is not None]
    return f"{max(known):.1e}" if known else DASH


def _draw(plan: ScalesPlan, scores: Scores, where: Where, kind: str, target: str) -> Any:
    """Draw the scores of one group over the sizes of regions, with their intervals."""
    regions, lines, intervals = scores.values("regions", **where), {}, {}
    for name, keys in _methods(scores).items():
        entries = [scores.entry(metric="pcc_m", regions=size, **where, **keys) for size in regions]
        lines[name] = [entry[0] for entry in entries]
        intervals[name] = [entry[1:] for entry in entries]
    return draw_sizes(regions, lines, f"{plan.name}, {where['fold']}: {kind}", target, intervals)


def _headline_facts(scores: Scores) -> list[tuple[str, str]]:
    """Return PixNet's scores for the smallest and the largest regions, with the truth on slides of other donors."""
    facts = []
    for kind, words in zip(KINDS, ("expected counts", "log-normalised"), strict=True):
        where = {"fold": SIDES[1], "target": f"{TARGETS[0]} {kind}"}
        sized = [name for name in scores.values("regions", **where) if "µm" in name]
        for regions in dict.fromkeys(sized[:1] + sized[-1:]):
            score, part = (scores.value("pixnet", metric, regions=regions, **where) for metric in ("pcc_m", "share"))
            facts.append((number(score), f"{words}, {regions}: {percent(part)} of the ceiling"))
    return facts


def _place(methods: Mapping[str, Where], name: str) -> int | None:
    return list(methods).index(name) if name in methods else None
