"""The report's section on how good the methods are: tables with intervals, and figures of all genes."""

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
    value,
)
from pixnet.evaluation.report.parts import DASH, Picture, Section, Table, distinct, duration, memory, number
from pixnet.evaluation.scores import AXES, NOISE, beyond
from pixnet.evaluation.summary import OVER_DONORS
from pixnet.scoring.table import Scores

MARKERS = ("ERBB2", "CD74", "COL1A1", "KRT19", "PTPRC", "CD3E", "EPCAM", "MBP", "INS", "ACTB")
"""Well-known genes of the tissues that are measured most."""

_PUBLISHED = ("hest-ridge", "knn", "st-net", "istar")
_NAMED = 5  # genes that are listed at either end


def scores_section(outcome: Evaluated) -> Section:
    """Show all scores: over everything, then by fold, seed and sample."""
    beyond_axes = axes_table(outcome.scores, outcome.methods, outcome.main)
    tables = [means_table(outcome), _other_correlations(outcome), _errors(outcome), beyond_axes]
    if len(outcome.methods) > 1:
        tables.append(paired_table(outcome))
    tables += [*_by_fold(outcome), *_by_seed(outcome), *_by_sample(outcome), _genes(outcome)]
    tables.append(costs_table(outcome.protocol.get("runs", {}), outcome.methods, outcome.main))
    per_gene = {name: outcome.correlations(name) for name in outcome.guessing}
    noise = np.asarray(outcome.table.var["noise_estimate"], np.float64)
    pictures = [
        Picture(
            data_uri(curves.draw_genes(per_gene, noise)),
            "Correlation of each gene, mean over folds. Every curve has its own order, so points above each other are "
            f"different genes.{_how_many_genes(outcome)}",
        ),
        Picture(
            data_uri(curves.draw_against_noise(per_gene, noise)),
            "Each gene's correlation against its noise estimate, both means over folds. On the dashed line a "
            "prediction correlates with these noisy counts as well as a perfect one would by the estimate.",
        ),
    ]
    return Section("How good it is", tables=tables, pictures=pictures)


def means_table(outcome: Evaluated) -> Table:
    """Show the mean correlation with its intervals, and what share it is of the noise estimate."""
    donors = bool(outcome.scores.values("metric", target=OVER_DONORS))
    columns = {"PCC@M": Column({"metric": "pcc_m"}), "95 % over blocks": Column({"metric": "pcc_m"}, ends)}
    if donors:
        columns["95 % over donors"] = Column({"metric": "pcc_m", "target": OVER_DONORS}, ends)
    if any(len(seeds) > 1 for seeds in outcome.seeds.values()):
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
    without = outcome.results["noise_estimate"].get("genes_without_signal", 0)
    if without:
        note += f" In {without} cases of a gene in a fold the estimate found no signal and is 0."
    published = [name for name in outcome.methods if name in _PUBLISHED]
    if published:
        note += (
            f" {_listed(published)}: this package's own versions of published methods, on its default encoder, not the "
            "authors' programs."
        )
    constant = max(int(scores["n_constant_observed"]) for scores in outcome.results["methods"].values())
    if constant:
        note += f" Genes that do not vary in a fold ({constant}) have no correlation there and are in no average of it."
    return _of_methods(outcome, columns, note)


def paired_table(outcome: Evaluated) -> Table:
    """Compare the main method with each other one."""
    others = [name for name in outcome.methods if name != outcome.main]
    note = (
        "Ratio and difference of PCC@M, and the folds in which it is better. Interval and p (two-sided): over redrawn "
        "spatial blocks, both methods on the same draws; a thousand draws cannot tell p below 0.002; no correction for "
        "the number of comparisons."
    )
    return replace(comparison_table(outcome.scores, outcome.main, others), note=note)


def _other_correlations(outcome: Evaluated) -> Table:
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
    return _of_methods(outcome, columns, note)


def _errors(outcome: Evaluated) -> Table:
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
    return _of_methods(outcome, columns, note, noise=False)


def method_table(
    scores: Scores, methods: Sequence[str], main: str, columns: Mapping[str, Column], note: str = "", noise: bool = True
) -> Table:
    """Return a table with a row for each method, the main one emphasised, and one for the noise estimate."""
    names = [*methods, *([NOISE] if noise else [])]
    table = score_table(scores, "method", {name: {"method": name} for name in names}, columns)
    return replace(table, note=note, emphasis=list(methods).index(main))


def _of_methods(outcome: Evaluated, columns: Mapping[str, Column], note: str, noise: bool = True) -> Table:
    return method_table(outcome.scores, outcome.methods, outcome.main, columns, note, noise)


def _by_fold(outcome: Evaluated) -> list[Table]:
    if len(outcome.folds) < 2:
        return []
    regions = ", ".join(f"{fold['name']} {fold['n_regions']}" for fold in outcome.folds)
    table = fold_table(outcome.scores, outcome.methods, [fold["name"] for fold in outcome.folds])
    return [replace(table, note=f"Regions: {regions}.")]


def _by_seed(outcome: Evaluated) -> list[Table]:
    methods = [name for name, seeds in outcome.seeds.items() if len(seeds) > 1]
    if not methods:
        return []
    seeds = outcome.seeds[methods[0]]
    rows: dict[str, Where] = {str(seed): {"seed": seed, "metric": "pcc_m"} for seed in seeds}
    rows |= {"mean": {"metric": "pcc_m", "regions": "enough"}, "sd": {"metric": "sd of pcc_m"}}
    columns = {name: Column({"method": name}, below()) for name in methods}
    note = "Methods that are not random have one seed." if len(methods) < len(outcome.methods) else ""
    table = score_table(outcome.scores, "seed", rows, columns)
    return [replace(table, note=note, title="PCC@M by seed, with the interval over blocks")]


def _by_sample(outcome: Evaluated) -> list[Table]:
    """Show PCC@M of each held-out sample, unless each is a fold of its own."""
    if len(outcome.ids) < 2 or [[name] for name in outcome.ids] == [fold["test"] for fold in outcome.folds]:
        return []
    rows = {name: {"sample": name, "metric": "pcc_m"} for name in outcome.ids}
    columns = {name: Column({"method": name}) for name in outcome.methods}
    note = "Mean over the blocks of the sample." if outcome.has_blocks else ""
    table = score_table(outcome.scores, "sample", rows, columns)
    return [replace(table, note=note, title="PCC@M by held-out sample")]


def _genes(outcome: Evaluated) -> Table:
    """List the genes that are predicted best and worst, and known markers of the panel."""
    ranked = outcome.ranked()
    names = np.asarray(outcome.table.var_names, str)
    markers = [int(np.flatnonzero(names == gene)[0]) for gene in MARKERS if gene in names]
    shown = dict.fromkeys([*ranked[:_NAMED].tolist(), *markers, *ranked[-_NAMED:].tolist()])
    columns = {"mean counts": "mean_counts", "noise estimate": "noise_estimate"}
    columns |= {name: f"pcc_{name}" for name in outcome.guessing}
    var = outcome.table.var
    rows = [[str(names[gene]), *(number(float(var[key].iloc[gene])) for key in columns.values())] for gene in shown]
    note = f"The {_NAMED} best and worst under {outcome.main}, known markers between them; means over folds and seeds. "
    note += f"All genes: {outcome.results['per_gene']}."
    return Table(["gene", *columns], rows, note, title="Correlation of single genes")


def costs_table(runs: Mapping[str, Sequence[Mapping[str, Any]]], methods: Sequence[str], main: str) -> Table:
    """Show time and memory of one training and prediction, with image features computed for it alone.

    `runs` has the facts of each method's runs (see `pixnet.evaluation.runs.Stored`); a method that was imported has
    none.
    """
    body = []
    for name in methods:
        of_method = runs.get(name, [])
        ready = [run["features"]["found"] for run in of_method]
        shared = math.nan if None in ready or not ready else sum(ready) / len(ready)
        own = sum(run["seconds"] for run in of_method) / len(of_method) if of_method else math.nan
        peak = max((run["peak_rss_mb"] for run in of_method), default=math.nan)
        where = [distinct(run.get(key) for run in of_method) for key in ("device", "threads")]
        body.append([name, duration(own + shared), duration(shared), duration(own), memory(peak), *where])
    columns = ["method", "time of a run", "shared", "own", "peak memory", "device", "threads"]
    note = (
        "Mean over runs, with all sessions of one that was interrupted; other programs on the machine slow them down. "
        "Time of a run: one training and prediction, with all its image features computed. Shared: the time of "
        "computing those features that were in the cache, since another run had computed them. Own: the rest. Peak "
        "memory: the most that the process held, with what earlier runs had left in it."
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


def axes_table(scores: Scores, methods: Sequence[str], main: str) -> Table:
    """Show what is left beyond the main axes of the predictions, and how many axes they have."""
    columns = {"PCC@M": Column({"metric": "pcc_m"})}
    columns |= {f"beyond {axes} (95 %)": Column({"metric": beyond(axes)}, below()) for axes in AXES}
    columns["axes"] = Column({"metric": "participation_ratio"}, value(1))
    columns["pairs of genes"] = Column({"metric": "pair_agreement"})
    note = (
        "Beyond 1, 2, 3: PCC@M after the first one, two or three principal axes of the method's own predictions have "
        "been taken off predicted and measured values. Axes: participation ratio, on about how many axes the values of "
        "all genes vary; in the last row, of the measured values above their counting noise. Pairs of genes: "
        "correlation, over all pairs, of their predicted with their measured correlation. Maps that all live on one or "
        "two axes look alike, whatever the gene."
    )
    table = method_table(scores, methods, main, columns, note)
    rows = [*table.rows, *_over_best(scores, methods, main, columns)]
    return replace(table, rows=rows, title="Beyond the main axes")


def _over_best(scores: Scores, methods: Sequence[str], main: str, columns: Mapping[str, Column]) -> list[list[str]]:
    """Return a row that divides the main method's correlations by the best of the others, if there are any."""
    row, others = [], [name for name in methods if name != main]
    for column in columns.values():
        metric = column.where["metric"]
        best = max((scores.value(name, metric) for name in others), default=math.nan)
        compared = metric.startswith("pcc_m") and best > 0
        row.append(number(scores.value(main, metric) / best, 2) if compared else DASH)
    return [[f"{main} over the best other", *row]] if any(entry != DASH for entry in row) else []


def fold_table(scores: Scores, methods: Sequence[str], folds: Sequence[str]) -> Table:
    """Show PCC@M of each fold, with the longer side as rows: a page is narrower than it is long."""
    by_fold: dict[str, Where] = {name: {"fold": name, "metric": "pcc_m"} for name in folds}
    by_method: dict[str, Where] = {name: {"method": name} for name in [*methods, NOISE]}
    across, down = (by_fold, by_method) if len(by_method) > len(by_fold) else (by_method, by_fold)
    columns = {name: Column(where, below()) for name, where in across.items()}
    table = score_table(scores, "method" if down is by_method else "fold", down, columns)
    return replace(table, title="PCC@M by fold, with the interval over blocks")


def _how_many_genes(outcome: Evaluated) -> str:
    """Return how the panels of several folds differ, if they do."""
    folds = np.asarray(outcome.table.var["folds"])
    if (folds == len(outcome.folds)).all():
        return ""
    shared = int((folds == len(outcome.folds)).sum())
    return f" {len(folds)} genes are in the panel of some fold, {shared} in that of all."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
