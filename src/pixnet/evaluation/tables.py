"""The tables of an evaluation: every prediction as AnnData, scores by gene and by cell as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pixnet.evaluation.scoring.scores import SUMMARIES, FoldScores

if TYPE_CHECKING:
    import anndata

PER_GENE = "per_gene.csv"
PREDICTIONS = "predictions.h5ad"
SCORES = "scores.csv"


def write_tables(folds: Sequence[FoldScores], folder: Path) -> None:
    """Write `predictions.h5ad`, `per_gene.csv`, and, where a method has several cells, `scores.csv`."""
    predictions_table(folds).write_h5ad(folder / PREDICTIONS, compression="gzip")
    _write_csv(folder / PER_GENE, *_per_gene_rows(folds))
    if len(folds) > 1 or any(len(seeds) > 1 for seeds in folds[0].methods.values()):
        _write_csv(folder / SCORES, *_score_rows(folds))


def layer_names(method: str, seeds: Sequence[int]) -> dict[int, str]:
    """Name the layer of each seed: by the method alone where there is one."""
    return {seed: method if len(seeds) == 1 else f"{method}, seed {seed}" for seed in seeds}


def predictions_table(folds: Sequence[FoldScores]) -> anndata.AnnData:
    """Give truth and predictions of all held-out regions.

    Returns
    -------
    AnnData
        Rows are regions, columns the genes of all folds. `X`: observed log-normalised expression; a layer for each
        method and seed; NaN for a gene that is not in the panel of the region's fold. `obs`: `sample`, `fold`, `x_um`,
        `y_um`, `size_um` (width of its bounds), `total_counts`, `kept` (whether the main scores count it). `var`:
        `folds` (in how many panels the gene is) and, as means over these, the columns of `per_gene.csv`.
    """
    import anndata
    import pandas as pd

    genes = list(dict.fromkeys(gene for fold in folds for gene in fold.source.held.panel.names))
    obs = pd.concat([_regions(fold) for fold in folds])
    for column in ("sample", "fold"):
        obs[column] = pd.Categorical(obs[column], categories=list(dict.fromkeys(obs[column])))
    frames = [pd.DataFrame(fold.per_gene(), index=fold.source.held.panel.names) for fold in folds]
    joined = pd.concat(frames)
    # One column that is NaN in a fold is NaN on average.
    gaps = joined.isna().groupby(level=0).any()
    var = joined.groupby(level=0).mean().mask(gaps).reindex(genes)
    var.insert(0, "folds", joined.groupby(level=0).size().reindex(genes))
    var.index = pd.Index(genes, dtype=object)

    def stacked(tables: Iterable[Any]) -> Any:
        parts = []
        for fold, table in zip(folds, tables, strict=True):
            part = np.full((len(table), len(genes)), np.nan, np.float32)
            part[:, [genes.index(gene) for gene in fold.source.held.panel.names]] = table
            parts.append(part)
        return np.concatenate(parts)

    table = anndata.AnnData(stacked(fold.source.held.observed for fold in folds), obs=obs, var=var)
    for name, of_seed in folds[0].methods.items():
        for seed, layer in layer_names(name, list(of_seed)).items():
            table.layers[layer] = stacked(fold.source.predictions[name][seed].values for fold in folds)
    table.uns["units"] = "log1p of counts per 10,000"
    return table


def _regions(fold: FoldScores) -> Any:
    import pandas as pd

    held = fold.source.held
    bounds = np.concatenate([sample.regions.bounds_um for sample in held.samples])
    centers = held.centers_um
    names = [f"{sample.id}:{name}" for sample in held.samples for name in sample.counts.region_names()]
    return pd.DataFrame(
        {
            "sample": [held.samples[number].id for number in held.owner],
            "fold": fold.source.fold.name,
            "x_um": centers[:, 0],
            "y_um": centers[:, 1],
            "size_um": bounds[:, 2] - bounds[:, 0],
            "total_counts": held.total,
            "kept": fold.kept,
        },
        index=pd.Index(names, dtype=object),
    )


def _per_gene_rows(folds: Sequence[FoldScores]) -> tuple[list[str], list[list[Any]]]:
    several = len(folds) > 1
    rows: list[list[Any]] = []
    for fold in folds:
        columns = fold.per_gene()
        for row, gene in enumerate(fold.source.held.panel.names):
            values = [float(column[row]) for column in columns.values()]
            rows.append([*([fold.source.fold.name] if several else []), gene, *values])
    return [*(["fold"] if several else []), "gene", *folds[0].per_gene()], rows


def _score_rows(folds: Sequence[FoldScores]) -> tuple[list[str], list[list[Any]]]:
    rows: list[list[Any]] = []
    for fold in folds:
        for name, of_seed in fold.methods.items():
            for seed, one in of_seed.items():
                cost = fold.source.predictions[name][seed]
                values = [one.summary[key] for key in SUMMARIES]
                size = [one.score["n_regions"], one.score["n_genes"], one.score["n_constant_observed"]]
                share = one.summary["pcc_m"] / fold.attainable["pcc_m"] if fold.attainable["pcc_m"] > 0 else math.nan
                costs = [cost.seconds, cost.shared_seconds, cost.peak_rss_mb]
                rows.append([name, fold.source.fold.name, seed, *values, share, *size, *costs])
    head = ["method", "fold", "seed", *SUMMARIES, "noise_share", "n_regions", "n_genes", "n_constant_observed"]
    return [*head, "seconds", "seconds_shared", "peak_rss_mb"], rows


def _write_csv(path: Path, head: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{value:.6g}" if math.isfinite(value) else ""
