"""The report's section on how good the methods are: tables with intervals, and what each gene can and does reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pixnet.evaluation.report import curves
from pixnet.evaluation.report.canvas import data_uri
from pixnet.evaluation.report.costs import costs_table
from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.parts import (
    DASH,
    Picture,
    Section,
    Table,
    interval,
    number,
    over_interval,
    p_value,
    percent,
)

Cell = Callable[[dict[str, Any]], str]

MARKERS = ("ERBB2", "CD74", "COL1A1", "KRT19", "PTPRC", "CD3E", "EPCAM", "MBP", "INS", "ACTB")
"""Genes that a reader looks for, of the tissues that are measured most."""

_AFTER_OTHERS = ("hest-ridge", "knn", "st-net", "istar")
_NAMED = 5  # genes that are named at either end


def scores_section(done: Evaluated) -> Section:
    """Give all scores: over everything, then by fold, seed and sample."""
    tables = [_means(done), _other_correlations(done), _errors(done), *_paired(done)]
    tables += [*_by_fold(done), *_by_seed(done), *_by_sample(done), _genes(done), costs_table(done)]
    per_gene = {name: done.correlations(name) for name in done.guessing}
    noise = np.asarray(done.table.var["noise_estimate"], np.float64)
    pictures = [
        Picture(
            data_uri(curves.draw_genes(per_gene, noise)),
            "Correlation of each gene, mean over folds: every curve in an order of its own, so those above each "
            f"other are different genes.{_how_many_genes(done)}",
        ),
        Picture(
            data_uri(curves.draw_against_noise(per_gene, noise)),
            "Each gene's correlation over its noise estimate, both means over folds. On the dashed line a prediction "
            "correlates with these noisy counts as well as a perfect one would by the estimate.",
        ),
    ]
    return Section("How good it is", tables=tables, pictures=pictures)


def _means(done: Evaluated) -> Table:
    """Give the mean correlation with its intervals, and what share it is of the noise estimate."""
    methods = done.results["methods"]
    columns: dict[str, Cell] = {
        "PCC@M": lambda one: number(one["pcc_m"]),
        "95 % over blocks": lambda one: interval(one.get("interval_blocks")),
    }
    if any(one.get("interval_donors") for one in methods.values()):
        columns["95 % over donors"] = lambda one: interval(one.get("interval_donors"))
    if any(len(one.get("seeds", [])) > 1 for one in methods.values()):
        columns["sd over seeds"] = lambda one: number(one["sd_over_seeds"]["pcc_m"])
    columns["share of the noise estimate"] = lambda one: percent(one.get("noise_share"))
    rows = _rows(done, columns)
    rows.append(["noise estimate", number(done.results["noise_estimate"]["pcc_m"]), *[DASH] * (len(columns) - 2)])
    rows[-1].append("100 %")
    note = (
        "PCC@M: mean over genes of the Pearson correlation over regions, averaged over folds and seeds. 95 %: interval "
        "when spatial blocks of regions are redrawn"
        + (", or donors first and then their blocks" if "95 % over donors" in columns else "")
        + ". Noise estimate: the correlation that a perfect prediction would have with these noisy counts, estimated "
        "by splitting them; it is no bound. The intervals leave out the variance of seeds, of training samples and of "
        "which sections were taken."
    )
    without = done.results["noise_estimate"].get("genes_without_signal", 0)
    if without:
        note += f" In {without} cases of a gene in a fold the estimate found no signal and is 0."
    own = [name for name in done.methods if name in _AFTER_OTHERS]
    if own:
        note += (
            f" {_listed(own)}: this package's own versions of published methods, on its default encoder, not the "
            "authors' programs."
        )
    constant = max(int(one["n_constant_observed"]) for one in methods.values())
    if constant:
        note += f" Genes that do not vary in a fold ({constant}) have no correlation there and are in no average of it."
    return Table(["method", *columns], rows, note, done.methods.index(done.main))


def _other_correlations(done: Evaluated) -> Table:
    columns: dict[str, Cell] = {
        "PCC@S (95 %)": lambda one: over_interval(one["pcc_s"], _over_blocks(one, "pcc_s")),
        "PCC@F (95 %)": lambda one: over_interval(one["pcc_f"], _over_blocks(one, "pcc_f")),
        "50 most variable": lambda one: number(one.get("pcc_m_variable")),
        "given depth": lambda one: number(one.get("pcc_m_given_depth")),
        "Spearman": lambda one: number(one.get("spearman_m")),
        "all regions": lambda one: number(one.get("unfiltered", {}).get("pcc_m")),
    }
    rows = _rows(done, columns)
    estimate = done.results["noise_estimate"]
    rows.append(["noise estimate", number(estimate["pcc_s"]), number(estimate["pcc_f"]), *[DASH] * 4])
    note = (
        "PCC@S and PCC@F: median and first quartile over genes, with the interval over blocks. 50 most variable: PCC@M "
        "of the genes of the panel that vary most in the training samples. Given depth: mean over genes of the partial "
        "correlation, after a quadratic in the logarithm of a region's total counts has been taken off observed and "
        "predicted values; depth is partly biology. Spearman: mean rank correlation. All regions: PCC@M with those "
        "of few counts included."
    )
    return Table(["method", *columns], rows, note, done.methods.index(done.main))


def _genes(done: Evaluated) -> Table:
    """Name the genes that are predicted best and worst, and known markers of the panel."""
    ranked = done.ranked()
    names = np.asarray(done.table.var_names, str)
    known = [int(np.flatnonzero(names == gene)[0]) for gene in MARKERS if gene in names]
    shown = dict.fromkeys([*ranked[:_NAMED].tolist(), *known, *ranked[-_NAMED:].tolist()])
    columns = {"mean counts": "mean_counts", "noise estimate": "noise_estimate"}
    columns |= {name: f"pcc_{name}" for name in done.guessing}
    var = done.table.var
    rows = [[str(names[gene]), *(number(float(var[key].iloc[gene])) for key in columns.values())] for gene in shown]
    note = f"The {_NAMED} best and worst under {done.main}, known markers between them; means over folds and seeds. "
    note += f"All genes: {done.results['per_gene']}."
    return Table(["gene", *columns], rows, note, title="Correlation of single genes")


def _how_many_genes(done: Evaluated) -> str:
    """Say how the panels of several folds differ, where they do."""
    folds = np.asarray(done.table.var["folds"])
    if (folds == len(done.folds)).all():
        return ""
    return f" {len(folds)} genes are in the panel of some fold, {int((folds == len(done.folds)).sum())} in that of all."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _errors(done: Evaluated) -> Table:
    columns: dict[str, Cell] = {
        "MSE": lambda one: number(one["mse"]),
        "MAE": lambda one: number(one["mae"]),
        "Moran's I of the error": lambda one: number(one.get("moran_residual")),
    }
    note = (
        "MSE and MAE: over all values, of log(1 + counts per 10,000). Moran's I of the error: 0 where neighbouring "
        "regions are wrong independently, 1 where they are wrong alike; noise in a prediction lowers it, so it is to "
        "be read beside the MSE."
    )
    return Table(["method", *columns], _rows(done, columns), note, done.methods.index(done.main))


def _rows(done: Evaluated, columns: dict[str, Cell]) -> list[list[str]]:
    return [[name, *(cell(one) for cell in columns.values())] for name, one in done.results["methods"].items()]


def _over_blocks(one: dict[str, Any], key: str) -> Any:
    return one.get("intervals", {}).get("blocks", {}).get(key)


def _paired(done: Evaluated) -> list[Table]:
    paired = done.results.get("paired")
    if not paired:
        return []
    many = any(test["p_wilcoxon"] is not None for test in paired["against"].values())
    rows = []
    for name, test in paired["against"].items():
        ratio = number(test["ratio"], 2)
        cells = [name, ratio, number(test["difference"]), interval(test["interval"]), p_value(test["p_bootstrap"])]
        cells.append(f"{test['folds_better']} of {test['folds']}")
        rows.append(cells + ([p_value(test["p_sign"]), p_value(test["p_wilcoxon"])] if many else []))
    columns = [f"{paired['method']} against", "ratio", "difference", "95 %", "p", "folds better"]
    note = (
        "Ratio and difference of PCC@M. Interval and p (two-sided): over redrawn spatial blocks, both methods on the "
        "same draws, of which a thousand tell no p below 0.002; no correction for their number."
    )
    if many:
        columns += ["p, signs of folds", "p, Wilcoxon over folds"]
    return [Table(columns, rows, note)]


def _by_fold(done: Evaluated) -> list[Table]:
    if len(done.folds) < 2:
        return []
    rows = []
    for fold in done.folds:
        found = map(fold["methods"].get, done.methods)
        scores = [over_interval(one["pcc_m"], one.get("interval_blocks")) for one in found]
        rows.append([fold["name"], str(fold["n_regions"]), *scores, number(fold["noise_estimate"]["pcc_m"])])
    columns = ["fold", "regions", *done.methods, "noise estimate"]
    if len(done.methods) > len(done.folds):  # the fewer across: a page is narrower than it is long
        columns, *rows = map(list, zip(columns, *rows, strict=True))
    return [Table(columns, rows, title="PCC@M by fold, with the interval over blocks")]


def _by_seed(done: Evaluated) -> list[Table]:
    methods = {name: one for name, one in done.results["methods"].items() if len(one.get("seeds", [])) > 1}
    if not methods:
        return []
    seeds = [str(seed) for seed in next(iter(methods.values()))["seeds"]]
    rows = []
    for seed in seeds:
        found = [one["per_seed"][seed] for one in methods.values()]
        rows.append([seed, *(over_interval(one["pcc_m"], one.get("interval_blocks")) for one in found)])
    rows.append(["mean", *(number(one["pcc_m"]) for one in methods.values())])
    rows.append(["sd", *(number(one["sd_over_seeds"]["pcc_m"]) for one in methods.values())])
    note = "Methods that are not random have one seed." if len(methods) < len(done.methods) else ""
    return [Table(["seed", *methods], rows, note, title="PCC@M by seed, with the interval over blocks")]


def _by_sample(done: Evaluated) -> list[Table]:
    """Give PCC@M of each held-out sample, unless each is a fold of its own."""
    if len(done.ids) < 2 or [[name] for name in done.ids] == [fold["test"] for fold in done.folds]:
        return []
    rows = []
    for sample in done.ids:
        found = (done.results["methods"][name]["per_sample"].get(sample, {}) for name in done.methods)
        rows.append([sample, *(number(one.get("pcc_m", math.nan)) for one in found)])
    blocks = any(fold.get("blocks") for fold in done.protocol.get("folds", []))
    note = "Mean over the blocks of the sample." if blocks else ""
    return [Table(["sample", *done.methods], rows, note, title="PCC@M by held-out sample")]
