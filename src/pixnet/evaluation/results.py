"""What an evaluation leaves behind: results as JSON, the long table of scores, and every prediction as AnnData."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pixnet.evaluation.compartments.table import compartment_results
from pixnet.evaluation.scores import AXES, METRICS, NOISE, PER_GENE, SIZES, FoldScores, beyond
from pixnet.evaluation.summary import OVER_DONORS, main_method
from pixnet.scoring.table import ALL, Scores

if TYPE_CHECKING:
    import anndata

RESULTS, SCORES, PREDICTIONS = "results.json", "scores.parquet", "predictions.h5ad"
GENE_TABLE, RUN_TABLE, COMPARTMENTS = "per_gene.csv", "scores.csv", "compartments.csv"
CORRELATIONS = ("pcc_f", "pcc_s", "pcc_m")
ERRORS = ("mse", "mae")


@dataclass(frozen=True)
class Outcome:
    """A finished evaluation: the scores of each fold, the long table of all, and the record of what was done.

    `compartments` is the table of genes of the compartment test, if it was carried out.
    """

    folds: list[FoldScores]
    scores: Scores
    record: dict[str, Any]
    compartments: pd.DataFrame | None = None

    @property
    def results(self) -> dict[str, Any]:
        """Content of `results.json`."""
        first = self.folds[0].source.predictions
        methods = {name: _method(self.scores, name, list(seeds)) for name, seeds in first.items()}
        uncovered = sum(int((~fold.covered).sum()) for fold in self.folds)
        noise = {key: self.scores.value(NOISE, key) for key in (*CORRELATIONS, "participation_ratio")}
        return {
            "protocol": {**self.record, "regions_without_prediction": uncovered},
            "methods": methods,
            "noise_estimate": {**noise, "genes_without_signal": sum(fold.noise.negative for fold in self.folds)},
            "paired": _paired(self.scores, list(methods)),
            "excluded_regions": sum(int((~fold.kept).sum()) for fold in self.folds),
            "folds": [_fold(self.scores, fold, list(methods)) for fold in self.folds],
            "per_gene": GENE_TABLE,
            **({} if self.compartments is None else {"compartments": compartment_results(self.scores)}),
        }

    def write(self, folder: Path) -> None:
        """Write everything; `scores.csv`, a row for each run, where a method has several."""
        self.scores.frame.to_parquet(folder / SCORES, index=False)
        if self.compartments is not None:
            _write_csv(self.compartments, folder / COMPARTMENTS)
        predictions_table(self.folds, self.scores).write_h5ad(folder / PREDICTIONS, compression="gzip")
        genes = pd.concat({fold.source.fold.name: _gene_table(fold) for fold in self.folds}, names=["fold", "gene"])
        genes = genes.reset_index().drop(columns=["fold"] if len(self.folds) == 1 else [])
        _write_csv(genes, folder / GENE_TABLE)
        if len(self.folds) > 1 or any(len(seeds) > 1 for seeds in self.folds[0].source.predictions.values()):
            _write_csv(_run_table(self.scores), folder / RUN_TABLE)
        text = json.dumps(finite(self.results), indent=1, allow_nan=False)
        (folder / RESULTS).write_text(text + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """Replace NaN by null, since JSON does not have NaN."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def layer_names(method: str, seeds: Iterable[int]) -> dict[int, str]:
    """Name the layer of each seed: by the method alone where there is one."""
    seeds = list(seeds)
    return {seed: method if len(seeds) == 1 else f"{method}, seed {seed}" for seed in seeds}


def predictions_table(folds: Sequence[FoldScores], scores: Scores) -> anndata.AnnData:
    """Return truth and predictions of all held-out regions: rows are regions, columns the genes of all folds.

    `X`: observed log-normalised expression; a layer for each method and seed; NaN for a gene that is not in the panel
    of the region's fold. `obs`: `sample`, `fold`, `x_um`, `y_um`, `size_um` (width of its bounds), `total_counts`,
    `kept` (whether the main scores count it). `var`: `folds` (in how many panels the gene is) and, as means over these,
    the columns of `per_gene.csv`.
    """
    import anndata

    tables = [_gene_table(fold) for fold in folds]
    joined = pd.concat(tables)
    genes = list(dict.fromkeys(joined.index))
    grouped = joined.groupby(level=0)
    # A column that is NaN in a fold is NaN on average.
    var = grouped.mean().mask(joined.isna().groupby(level=0).any()).reindex(genes)
    var.insert(0, "folds", grouped.size().reindex(genes))
    var.index = pd.Index(genes, dtype=object)
    obs = pd.concat([_regions(fold) for fold in folds])
    for column in ("sample", "fold"):
        obs[column] = pd.Categorical(obs[column], categories=list(dict.fromkeys(obs[column])))

    def stacked(parts: Iterable[Any]) -> Any:
        result = []
        for fold, part in zip(folds, parts, strict=True):
            wide = np.full((len(part), len(genes)), np.nan, np.float32)
            wide[:, [genes.index(gene) for gene in fold.source.held.panel.names]] = part
            result.append(wide)
        return np.concatenate(result)

    table = anndata.AnnData(stacked(fold.source.held.observed for fold in folds), obs=obs, var=var)
    for name, by_seed in folds[0].source.predictions.items():
        for seed, layer in layer_names(name, by_seed).items():
            table.layers[layer] = stacked(fold.source.predictions[name][seed].values for fold in folds)
    table.uns["units"] = "log1p of counts per 10,000"
    return table


def _regions(fold: FoldScores) -> pd.DataFrame:
    held = fold.source.held
    bounds = np.concatenate([sample.regions.bounds_um for sample in held.samples])
    names = [f"{sample.id}:{name}" for sample in held.samples for name in sample.counts.region_names()]
    return pd.DataFrame(
        {
            "sample": [held.samples[number].id for number in held.owner],
            "fold": fold.source.fold.name,
            "x_um": held.centers_um[:, 0],
            "y_um": held.centers_um[:, 1],
            "size_um": bounds[:, 2] - bounds[:, 0],
            "total_counts": held.total,
            "kept": fold.kept,
        },
        index=pd.Index(names, dtype=object),
    )


def _gene_table(fold: FoldScores) -> pd.DataFrame:
    """Return the columns of the table by gene; of several seeds, the mean."""
    scores, methods = Scores(fold.table), list(fold.source.predictions)
    columns = {"mean_counts": scores.genes("mean_counts", NOISE), "noise_estimate": scores.genes("pcc", NOISE)}
    columns |= {f"{metric}_{name}": scores.genes(metric, name) for metric in PER_GENE for name in methods}
    return pd.DataFrame({name: values.to_numpy() for name, values in columns.items()},
                        index=list(fold.source.held.panel.names))  # fmt: skip


def _run_table(scores: Scores) -> pd.DataFrame:
    """Return one row for each method, fold and seed, with its metrics and costs as columns."""
    frame = scores.frame
    of_runs = (frame["seed"] != ALL) & (frame["fold"] != ALL) & (frame["gene"] == ALL)
    of_runs &= (frame["regions"] == "enough") & (frame["sample"] == ALL)
    keys = ["method", "fold", "seed"]
    order = frame.loc[of_runs, keys].drop_duplicates()
    table = frame[of_runs].pivot(index=keys, columns="metric", values="value").loc[list(order.itertuples(index=False))]
    attainable = np.array([scores.value(NOISE, "pcc_m", fold=fold) for fold in order["fold"]])
    table["noise_share"] = np.where(attainable > 0, table["pcc_m"] / attainable, math.nan)
    sizes = list(SIZES[:3])
    columns = [*METRICS, "noise_share", *sizes, "seconds", "seconds_shared", "peak_rss_mb"]
    return table.astype(dict.fromkeys(sizes, int))[columns].reset_index()


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def _method(scores: Scores, name: str, seeds: list[int]) -> dict[str, Any]:
    def values(metrics: Iterable[str], **where: Any) -> dict[str, Any]:
        found = {metric: scores.value(name, metric, **where) for metric in metrics}
        return {key: int(value) if key in SIZES and value == round(value) else value for key, value in found.items()}

    samples = scores.values("sample", method=name)
    everything = (*ERRORS, *CORRELATIONS, *SIZES)
    blocks = {key: scores.interval(name, key) for key in CORRELATIONS}
    donors = {key: scores.interval(name, key, target=OVER_DONORS) for key in CORRELATIONS}
    blocks |= {key: scores.interval(name, key) for key in map(beyond, AXES)}
    redrawn = {"blocks": blocks} | ({"donors": donors} if scores.values("metric", target=OVER_DONORS) else {})
    per_seed = {str(seed): _of_seed(scores, name, seed, len(seeds) > 1) for seed in seeds}
    return {
        **values(everything),
        **values(name for name in METRICS if name not in everything),
        **values(("seconds", "seconds_shared", "seconds_cold", "peak_rss_mb", "noise_share")),
        "unfiltered": values(everything, regions=ALL),
        "per_sample": {sample: values(everything, sample=sample) for sample in samples},
        "seeds": seeds,
        "per_seed": per_seed,
        "sd_over_seeds": {key: scores.value(name, f"sd of {key}") for key in METRICS},
        "layers": list(layer_names(name, seeds).values()),
        "intervals": redrawn,
        "interval_blocks": blocks["pcc_m"],
        "interval_donors": redrawn.get("donors", {}).get("pcc_m"),
    }


def _of_seed(scores: Scores, name: str, seed: int, several: bool) -> dict[str, Any]:
    where = {"seed": seed} if several else {}
    found: dict[str, Any] = {key: scores.value(name, key, **where) for key in METRICS}
    return found | ({"interval_blocks": scores.interval(name, "pcc_m", **where)} if several else {})


def _fold(scores: Scores, fold: FoldScores, methods: Sequence[str]) -> dict[str, Any]:
    name = fold.source.fold.name
    return {
        "name": name,
        "test": list(fold.source.fold.test),
        "n_regions": int(fold.kept.sum()),
        "excluded_regions": int((~fold.kept).sum()),
        "n_variable": len(fold.source.fold.variable),
        "noise_estimate": {key: scores.value(NOISE, key, fold=name) for key in CORRELATIONS},
        "methods": {
            method: {key: scores.value(method, key, fold=name) for key in METRICS}
            | {"interval_blocks": scores.interval(method, "pcc_m", fold=name)}
            for method in methods
        },
    }


def _paired(scores: Scores, methods: Sequence[str]) -> dict[str, Any] | None:
    """Return the comparisons of the main method with each other one."""
    main = main_method(methods)
    against = {}
    for other in methods:
        if other == main:
            continue
        test = {key: scores.value(main, f"{key} vs {other}") for key in ("p_sign", "p_wilcoxon")}
        against[other] = {
            "ratio": scores.value(main, f"ratio vs {other}"),
            "difference": scores.value(main, f"difference vs {other}"),
            "interval": scores.interval(main, f"difference vs {other}"),
            "p_bootstrap": scores.value(main, f"p vs {other}"),
            **{key: int(scores.value(main, f"{key} vs {other}")) for key in ("folds_better", "folds")},
            **{key: None if math.isnan(value) else value for key, value in test.items()},
        }
    return {"method": main, "against": against} if against else None
