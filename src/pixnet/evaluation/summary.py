"""Scores averaged over folds and seeds, with intervals over redrawn blocks and donors, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pixnet.evaluation.held_out import Floats
from pixnet.evaluation.scores import AXES, METRICS, NOISE, SIZES, FoldScores, beyond
from pixnet.scoring.bootstrap import SUMMARIES, interval, intervals, paired_test, redrawn_scores
from pixnet.scoring.table import ALL, Scores, rows

OVER_DONORS = "measured, donors redrawn"
"""Value of `target` where the interval is over redrawn donors; elsewhere it is over redrawn blocks."""

Draws = Mapping[str, Mapping[str, Floats]]
"""Redrawn scores by method, then by metric."""


def main_method(methods: Sequence[str]) -> str:
    """Return the method that the others are compared with: pixnet, else the first that looks at the image."""
    return "pixnet" if "pixnet" in methods else next((name for name in methods if name != "mean"), methods[0])


def summarise(folds: Sequence[FoldScores], seed: int) -> Scores:
    """Average every method over folds and seeds.

    A score that is NaN in one fold is NaN on average: no fold is left out. The result holds the rows of all runs, of
    the averages over seeds, over folds and over both, and those of `comparison_rows`, of the main method.
    `seed` is that of the redrawn blocks.
    """
    table = pd.concat([fold.table for fold in folds], ignore_index=True)
    noise = table[(table["method"] == NOISE) & (table["gene"] == ALL)]
    runs = table[(table["method"] != NOISE) & (table["gene"] == ALL)]
    over_blocks, over_donors = intervals([fold.scored() for fold in folds], seed)
    without_axes = _redrawn_without_axes(folds, seed)
    of_means = {method: {**draws, **without_axes[method]} for method, draws in over_blocks.items()}
    whole = Scores(pd.concat([_averages(runs, of_means), _averages(noise)], ignore_index=True))
    parts = [table, whole.frame, *_derived(runs, whole)]
    if over_donors is not None:
        main = _averages(runs, over_donors)
        parts.append(main[main["metric"].isin(SUMMARIES) & main["low"].notna()].assign(target=OVER_DONORS))
    of_folds = {}
    for fold in folds:
        name = fold.source.fold.name
        redrawn = over_blocks if len(folds) == 1 else redrawn_scores([fold.scored()], seed=seed)
        of_folds[name] = Scores(_averages(runs[runs["fold"] == name], redrawn))
        parts.append(of_folds[name].frame.assign(fold=name))
    several = [name for name, by_seed in folds[0].source.predictions.items() if len(by_seed) > 1]
    for number in dict.fromkeys(number for name in several for number in folds[0].source.predictions[name]):
        own = runs[runs["method"].isin(several) & (runs["seed"] == str(number))]
        redrawn = redrawn_scores([fold.scored(number) for fold in folds], seed=seed)
        parts.append(_averages(own, redrawn).assign(seed=str(number)))
    main_name = main_method(list(over_blocks))
    for other in over_blocks:
        if other != main_name:
            draws = over_blocks[main_name]["pcc_m"] - over_blocks[other]["pcc_m"]
            differences = [fold.value(main_name, "pcc_m") - fold.value(other, "pcc_m") for fold in of_folds.values()]
            scores = whole.value(main_name, "pcc_m"), whole.value(other, "pcc_m")
            parts.append(comparison_rows(other, scores, draws, np.array(differences), method=main_name))
    return Scores(pd.concat(parts, ignore_index=True))


def _redrawn_without_axes(folds: Sequence[FoldScores], seed: int) -> dict[str, dict[str, Floats]]:
    """Return PCC@M without the main axes in redrawn data, by method and metric, means over folds and seeds.

    The axes are those of the data as they are: they are not redrawn.
    """
    result: dict[str, dict[str, Floats]] = {}
    for method, by_seed in folds[0].source.predictions.items():
        for axes in AXES:
            of_seeds = ([fold.scored_without(axes, method, number) for fold in folds] for number in by_seed)
            redrawn = [redrawn_scores(scored, seed=seed)[method]["pcc_m"] for scored in of_seeds]
            result.setdefault(method, {})[beyond(axes)] = np.mean(redrawn, axis=0)
    return result


def comparison_rows(
    other: str, scores: tuple[float, float], draws: Floats, of_folds: Floats, **where: Any
) -> pd.DataFrame:
    """Return the rows that compare a method with another, see `paired_test`.

    Metrics are `difference vs OTHER` with its interval, and in the same way `ratio`, `p` (by bootstrap),
    `folds_better`, `folds`, `p_sign` and `p_wilcoxon`. `scores` are the PCC@M of both; `where` has the rows' keys.
    """
    first, second = scores
    test = paired_test(first - second, draws, of_folds)
    low, high = test.pop("interval")
    values = {
        "difference": (test.pop("difference"), low, high),
        "ratio": first / second if second > 0 else math.nan,
        "p": test.pop("p_bootstrap"),
        **{name: math.nan if value is None else float(value) for name, value in test.items()},
    }
    return rows({f"{name} vs {other}": value for name, value in values.items()}, **where)


def _averages(table: pd.DataFrame, draws: Draws | None = None) -> pd.DataFrame:
    """Average over folds and seeds; sizes are added up over folds (but for the number of genes), memory is the peak."""
    keys = ["method", "regions", "sample", "metric"]
    grouped = table.groupby(keys, sort=False)["value"]
    result = grouped.agg(lambda part: part.mean(skipna=False)).reset_index()
    seeds = table.groupby("method", sort=False)["seed"].nunique()
    added = result["metric"].isin([name for name in SIZES if name != "n_genes"]).to_numpy()
    sums = np.round(grouped.sum().to_numpy() / result["method"].map(seeds).to_numpy())
    peak = (result["metric"] == "peak_rss_mb").to_numpy()
    result["value"] = np.select([added, peak], [sums, grouped.max().to_numpy()], result["value"].to_numpy())
    result = result.assign(variant="", fold=ALL, seed=ALL, target="measured", gene=ALL, low=math.nan, high=math.nan)
    main = (result["regions"] == "enough") & (result["sample"] == ALL)
    for place in result.index[main]:
        method, metric, value = result.loc[place, ["method", "metric", "value"]]
        redrawn = (draws or {}).get(method, {}).get(metric)
        if redrawn is not None:
            result.loc[place, ["low", "high"]] = interval(redrawn, value)
    return result


def _derived(runs: pd.DataFrame, means: Scores) -> list[pd.DataFrame]:
    """Return each method's spread over seeds, its share of the noise estimate, and its time with features from cold."""
    attainable, parts = means.value(NOISE, "pcc_m"), []
    main = runs[(runs["regions"] == "enough") & (runs["sample"] == ALL) & runs["metric"].isin(METRICS)]
    for method, own in main.groupby("method", sort=False):
        name = str(method)
        of_seeds = own.groupby(["metric", "seed"], sort=False)["value"].agg(lambda part: part.mean(skipna=False))
        spread = of_seeds.groupby("metric", sort=False).std(ddof=1)
        values = {f"sd of {metric}": float(sd) for metric, sd in spread.items()}
        values["noise_share"] = means.value(name, "pcc_m") / attainable if attainable > 0 else math.nan
        values["seconds_cold"] = means.value(name, "seconds") + means.value(name, "seconds_shared")
        parts.append(rows(values, method=name))
    return [*parts, rows({"noise_share": 1.0}, method=NOISE)] if attainable > 0 else parts
