"""The report's section on how good the methods are: tables with intervals, and what each gene can and does reach."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pixnet.evaluation.report import curves
from pixnet.evaluation.report.canvas import data_uri
from pixnet.evaluation.report.evaluated import Evaluated
from pixnet.evaluation.report.grid import (
    Column,
    Where,
    below,
    beside,
    comparison_table,
    ends,
    score_table,
    share,
)
from pixnet.evaluation.report.parts import Picture, Section, Table, distinct, duration, memory, number
from pixnet.evaluation.scoring.scores import NOISE
from pixnet.evaluation.scoring.summary import OVER_DONORS
from pixnet.evaluation.scoring.table import Scores

MARKERS = ("ERBB2", "CD74", "COL1A1", "KRT19", "PTPRC", "CD3E", "EPCAM", "MBP", "INS", "ACTB")
"""Genes that a reader looks for, of the tissues that are measured most."""

_PUBLISHED = ("hest-ridge", "knn", "st-net", "istar")
_NAMED = 5  # genes that are named at either end


def scores_section(done: Evaluated) -> Section:
    """Show all scores: over everything, then by fold, seed and sample."""
    tables = [means_table(done), _other_correlations(done), _errors(done)]
    if len(done.methods) > 1:
        tables.append(paired_table(done))
    tables += [*_by_fold(done), *_by_seed(done), *_by_sample(done), _genes(done)]
    tables.append(costs_table(done.protocol.get("runs", {}), done.methods, done.main))
    per_gene = {name: done.correlations(name) for name in done.guessing}
    noise = np.asarray(done.table.var["noise_estimate"], np.float64)
    pictures = [
        Picture(
            data_uri(curves.draw_genes(per_gene, noise)),
            "Correlation of each gene, mean over folds. Every curve has an order of its own, so points above each "
            f"other are different genes.{_how_many_genes(done)}",
        ),
        Picture(
            data_uri(curves.draw_against_noise(per_gene, noise)),
            "Each gene's correlation against its noise estimate, both means over folds. On the dashed line a "
            "prediction correlates with these noisy counts as well as a perfect one would by the estimate.",
        ),
    ]
    return Section("How good it is", tables=tables, pictures=pictures)


def means_table(done: Evaluated) -> Table:
    """Show the mean correlation with its intervals, and what share it is of the noise estimate."""
    donors = bool(done.scores.values("metric", target=OVER_DONORS))
    columns = {"PCC@M": Column({"metric": "pcc_m"}), "95 % over blocks": Column({"metric": "pcc_m"}, ends)}
    if donors:
        columns["95 % over donors"] = Column({"metric": "pcc_m", "target": OVER_DONORS}, ends)
    if any(len(seeds) > 1 for seeds in done.seeds.values()):
        columns["sd over seeds"] = Column({"metric": "sd of pcc_m"})
    columns["share of the noise estimate"] = Column({"metric": "noise_share"}, share)
    note = (
        "PCC@M: mean over genes of the Pearson correlation over regions, averaged over folds and seeds. 95 %: interval "
        "when spatial blocks of regions are redrawn"
        + (", or donors first and then their blocks" if donors else "")
        + ". Noise estimate: the correlation that a perfect prediction would have with these noisy counts, estimated "
        "by splitting them; it is not a bound. The intervals leave out the variance of seeds, of training samples and "
        "of which sections were taken."
    )
    without = done.results["noise_estimate"].get("genes_without_signal", 0)
    if without:
        note += f" In {without} cases of a gene in a fold the estimate found no signal and is 0."
    published = [name for name in done.methods if name in _PUBLISHED]
    if published:
        note += (
            f" {_listed(published)}: this package's own versions of published methods, on its default encoder, not the "
            "authors' programs."
        )
    constant = max(int(one["n_constant_observed"]) for one in done.results["methods"].values())
    if constant:
        note += f" Genes that do not vary in a fold ({constant}) have no correlation there and are in no average of it."
    return _of_methods(done, columns, note)


def paired_table(done: Evaluated) -> Table:
    """Compare the main method with each other one."""
    others = [name for name in done.methods if name != done.main]
    note = (
        "Ratio and difference of PCC@M, and the folds in which it is better. Interval and p (two-sided): over redrawn "
        "spatial blocks, both methods on the same draws; a thousand draws cannot tell p below 0.002; no correction for "
        "the number of comparisons."
    )
    return replace(comparison_table(done.scores, done.main, others), note=note)


def _other_correlations(done: Evaluated) -> Table:
    columns = {
        "PCC@S (95 %)": Column({"metric": "pcc_s"}, below()),
        "PCC@F (95 %)": Column({"metric": "pcc_f"}, below()),
        "50 most variable": Column({"metric": "pcc_m_variable"}),
        "given depth": Column({"metric": "pcc_m_given_depth"}),
        "Spearman": Column({"metric": "spearman_m"}),
        "all regions": Column({"metric": "pcc_m", "regions": "all"}),
    }
    note = (
        "PCC@S and PCC@F: median and first quartile over genes, with the interval over blocks. 50 most variable: PCC@M "
        "of the genes of the panel that vary most in the training samples. Given depth: mean over genes of the partial "
        "correlation, after a quadratic in the logarithm of a region's total counts has been taken off observed and "
        "predicted values; depth is partly biology. Spearman: mean rank correlation. All regions: PCC@M with those "
        "of few counts included."
    )
    return _of_methods(done, columns, note)


def _errors(done: Evaluated) -> Table:
    columns = {
        "MSE": Column({"metric": "mse"}),
        "MAE": Column({"metric": "mae"}),
        "Moran's I of the error": Column({"metric": "moran_residual"}),
    }
    note = (
        "MSE and MAE: over all values, of log(1 + counts per 10,000). Moran's I of the error: 0 where neighbouring "
        "regions are wrong independently, 1 where they are wrong in the same way; noise in a prediction lowers it, so "
        "read it beside the MSE."
    )
    return _of_methods(done, columns, note, noise=False)


def method_table(
    scores: Scores, methods: Sequence[str], main: str, columns: Mapping[str, Column], note: str = "", noise: bool = True
) -> Table:
    """Return a table with a row for each method, the main one emphasised, and one for the noise estimate."""
    names = [*methods, *([NOISE] if noise else [])]
    table = score_table(scores, "method", {name: {"method": name} for name in names}, columns)
    return replace(table, note=note, emphasis=list(methods).index(main))


def _of_methods(done: Evaluated, columns: Mapping[str, Column], note: str, noise: bool = True) -> Table:
    return method_table(done.scores, done.methods, done.main, columns, note, noise)


def _by_fold(done: Evaluated) -> list[Table]:
    if len(done.folds) < 2:
        return []
    regions = ", ".join(f"{fold['name']} {fold['n_regions']}" for fold in done.folds)
    table = fold_table(done.scores, done.methods, [fold["name"] for fold in done.folds])
    return [replace(table, note=f"Regions: {regions}.")]


def _by_seed(done: Evaluated) -> list[Table]:
    methods = [name for name, seeds in done.seeds.items() if len(seeds) > 1]
    if not methods:
        return []
    seeds = done.seeds[methods[0]]
    rows: dict[str, Where] = {str(seed): {"seed": seed, "metric": "pcc_m"} for seed in seeds}
    rows |= {"mean": {"metric": "pcc_m", "regions": "enough"}, "sd": {"metric": "sd of pcc_m"}}
    columns = {name: Column({"method": name}, below()) for name in methods}
    note = "Methods that are not random have one seed." if len(methods) < len(done.methods) else ""
    table = score_table(done.scores, "seed", rows, columns)
    return [replace(table, note=note, title="PCC@M by seed, with the interval over blocks")]


def _by_sample(done: Evaluated) -> list[Table]:
    """Show PCC@M of each held-out sample, unless each is a fold of its own."""
    if len(done.ids) < 2 or [[name] for name in done.ids] == [fold["test"] for fold in done.folds]:
        return []
    rows = {name: {"sample": name, "metric": "pcc_m"} for name in done.ids}
    columns = {name: Column({"method": name}) for name in done.methods}
    blocks = any(fold.get("blocks") for fold in done.protocol.get("folds", []))
    note = "Mean over the blocks of the sample." if blocks else ""
    table = score_table(done.scores, "sample", rows, columns)
    return [replace(table, note=note, title="PCC@M by held-out sample")]


def _genes(done: Evaluated) -> Table:
    """Name the genes that are predicted best and worst, and known markers of the panel."""
    ranked = done.ranked()
    names = np.asarray(done.table.var_names, str)
    markers = [int(np.flatnonzero(names == gene)[0]) for gene in MARKERS if gene in names]
    shown = dict.fromkeys([*ranked[:_NAMED].tolist(), *markers, *ranked[-_NAMED:].tolist()])
    columns = {"mean counts": "mean_counts", "noise estimate": "noise_estimate"}
    columns |= {name: f"pcc_{name}" for name in done.guessing}
    var = done.table.var
    rows = [[str(names[gene]), *(number(float(var[key].iloc[gene])) for key in columns.values())] for gene in shown]
    note = f"The {_NAMED} best and worst under {done.main}, known markers between them; means over folds and seeds. "
    note += f"All genes: {done.results['per_gene']}."
    return Table(["gene", *columns], rows, note, title="Correlation of single genes")


def costs_table(runs: Mapping[str, Sequence[Mapping[str, Any]]], methods: Sequence[str], main: str) -> Table:
    """Show time and memory of one training and prediction, with image features computed for it alone.

    Parameters
    ----------
    runs
        By method, the facts of its runs (see `pixnet.evaluation.runs.Stored`); a method that was imported has none.
    methods, main
        Names of the rows, and of the one that is emphasised.
    """
    body = []
    for name in methods:
        own = [run["seconds"] for run in runs.get(name, [])]
        found = [run["features"]["found"] for run in runs.get(name, [])]
        shared = math.nan if None in found or not found else sum(found) / len(found)
        seconds = sum(own) / len(own) if own else math.nan
        peak = max((run["peak_rss_mb"] for run in runs.get(name, [])), default=math.nan)
        where = [distinct(run.get(key) for run in runs.get(name, [])) for key in ("device", "threads")]
        body.append([name, duration(seconds + shared), duration(shared), duration(seconds), memory(peak), *where])
    columns = ["method", "time of a run", "shared", "own", "peak memory", "device", "threads"]
    note = (
        "Mean over runs, with all sessions of one that was broken off; other programs on the machine count too. Time "
        "of a run: one training and prediction, its image features computed from cold. Shared: the part that computing "
        "features took which were found ready, since another run had computed them. Own: the rest. Peak memory: the "
        "most that the process held, with what earlier runs had left in it."
    )
    return Table(columns, body, note, list(methods).index(main), title="What it costs")


def accuracy_table(scores: Scores, methods: Sequence[str], main: str) -> Table:
    """Show the correlations with their intervals in one table, for pages in Markdown."""
    columns = {
        "PCC@M (95 %)": Column({"metric": "pcc_m"}, beside),
        "sd over seeds": Column({"metric": "sd of pcc_m"}),
        "PCC@S (95 %)": Column({"metric": "pcc_s"}, beside),
        "PCC@F (95 %)": Column({"metric": "pcc_f"}, beside),
        "given depth": Column({"metric": "pcc_m_given_depth"}),
        "MSE": Column({"metric": "mse"}),
        "share of the noise estimate": Column({"metric": "noise_share"}, share),
    }
    note = (
        "PCC@M, @S, @F: mean, median and first quartile over genes of the correlation over regions, means over folds "
        "and seeds, with 95 % intervals over redrawn spatial blocks, which leave out the variance of seeds."
    )
    return replace(method_table(scores, methods, main, columns, note), title="Scores")


def fold_table(scores: Scores, methods: Sequence[str], folds: Sequence[str]) -> Table:
    """Show PCC@M of each fold, the longer side going down: a page is narrower than it is long."""
    by_fold: dict[str, Where] = {name: {"fold": name, "metric": "pcc_m"} for name in folds}
    by_method: dict[str, Where] = {name: {"method": name} for name in [*methods, NOISE]}
    across, down = (by_fold, by_method) if len(by_method) > len(by_fold) else (by_method, by_fold)
    columns = {name: Column(where, below()) for name, where in across.items()}
    table = score_table(scores, "method" if down is by_method else "fold", down, columns)
    return replace(table, title="PCC@M by fold, with the interval over blocks")


def _how_many_genes(done: Evaluated) -> str:
    """State how the panels of several folds differ, where they do."""
    folds = np.asarray(done.table.var["folds"])
    if (folds == len(done.folds)).all():
        return ""
    shared = int((folds == len(done.folds)).sum())
    return f" {len(folds)} genes are in the panel of some fold, {shared} in that of all."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
