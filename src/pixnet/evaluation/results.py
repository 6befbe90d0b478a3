"""The results of an evaluation: scores averaged over folds and seeds, their intervals, and paired tests."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pixnet.evaluation.scoring.bootstrap import interval, intervals, paired_test, redrawn_scores
from pixnet.evaluation.scoring.held_out import Floats, FoldPredictions
from pixnet.evaluation.scoring.metrics import Score, bootstrap_interval
from pixnet.evaluation.scoring.scores import SUMMARIES, FoldScores
from pixnet.evaluation.tables import PER_GENE, layer_names, write_tables

RESULTS = "results.json"


@dataclass(frozen=True)
class Outcome:
    """An evaluation that is done.

    Attributes
    ----------
    folds
        Scores of each fold.
    results
        Content of `results.json`.
    """

    folds: list[FoldScores]
    results: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write `results.json`, `per_gene.csv`, `predictions.h5ad`, and, of several cells, `scores.csv`."""
        write_tables(self.folds, folder)
        text = json.dumps(finite(self.results), indent=1, allow_nan=False)
        (folder / RESULTS).write_text(text + "\n", encoding="utf-8")


def summarise(folds: Sequence[FoldPredictions], protocol: dict[str, Any], seed: int) -> Outcome:
    """Score every method on the same regions and genes of each fold, and average over folds.

    A score that is NaN in one fold is NaN on average: no fold is left out.

    Parameters
    ----------
    folds
        Truth and predictions.
    protocol
        What was done; goes into the results as it is.
    seed
        Of the noise estimate's splits and the intervals.

    Raises
    ------
    DataError
        If fewer than two regions of a fold can be scored.
    """
    scored = [FoldScores.of(fold, seed) for fold in folds]
    names = list(scored[0].methods)
    over_blocks, over_donors = intervals([fold.scored() for fold in scored], seed)
    attainable = {key: _mean([fold.attainable[key] for fold in scored]) for key in ("pcc_f", "pcc_s", "pcc_m")}
    methods = {}
    for name in names:
        methods[name] = _method(name, scored, attainable["pcc_m"], seed)
        methods[name]["intervals"] = {
            kind: {key: list(interval(scores, methods[name][key])) for key, scores in redrawn[name].items()}
            for kind, redrawn in (("blocks", over_blocks), ("donors", over_donors))
            if redrawn is not None
        }
        for kind in ("blocks", "donors"):
            methods[name][f"interval_{kind}"] = methods[name]["intervals"].get(kind, {}).get("pcc_m")
    _put_seed_intervals(methods, scored, seed)
    excluded = sum(int((~fold.kept).sum()) for fold in scored)
    results = {
        "protocol": {**protocol, "regions_without_prediction": sum(fold.without for fold in scored)},
        "methods": methods,
        "noise_estimate": {**attainable, "genes_without_signal": sum(fold.noise.negative for fold in scored)},
        "paired": _paired(scored, methods, {name: redrawn["pcc_m"] for name, redrawn in over_blocks.items()}),
        "excluded_regions": excluded,
        "folds": [_fold(fold, over_blocks if len(scored) == 1 else None, seed) for fold in scored],
        "per_gene": PER_GENE,
    }
    return Outcome(scored, results)


def main_method(methods: Sequence[str]) -> str:
    """Name the method that the others are compared with: pixnet, else the first that looks at the image."""
    return "pixnet" if "pixnet" in methods else next((name for name in methods if name != "mean"), methods[0])


def finite(value: Any) -> Any:
    """Put null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _method(name: str, folds: list[FoldScores], attainable: float, seed: int) -> dict[str, Any]:
    seeds = list(folds[0].methods[name])
    table = {key: _by_seed(folds, name, key) for key in SUMMARIES}  # each (seeds, folds)
    first = [fold.methods[name][seeds[0]] for fold in folds]
    every = [one for fold in folds for one in fold.methods[name].values()]
    costs = [one for fold in folds for one in fold.source.predictions[name].values()]
    genes = [one.score["n_genes"] for one in first]
    pcc_m = float(table["pcc_m"].mean())
    result: dict[str, Any] = {
        **{key: float(table[key].mean()) for key in ("mse", "mae", "pcc_f", "pcc_s", "pcc_m")},
        "n_regions": sum(one.score["n_regions"] for one in first),
        "n_genes": genes[0] if len(set(genes)) == 1 else float(np.mean(genes)),
        "n_constant_observed": sum(one.score["n_constant_observed"] for one in first),
        "n_constant_predicted": sum(one.score["n_constant_predicted"] for one in first),
        **{key: float(table[key].mean()) for key in ("spearman_m", "pcc_m_variable", "pcc_m_given_depth",
                                                         "moran_residual")},
        "seconds": float(np.mean([cost.seconds for cost in costs])),
        "seconds_shared": float(np.mean([cost.shared_seconds for cost in costs])),
        "seconds_cold": float(np.mean([cost.seconds + cost.shared_seconds for cost in costs])),
        "peak_rss_mb": float(np.max([cost.peak_rss_mb for cost in costs])),
        "noise_share": pcc_m / attainable if attainable > 0 else math.nan,
        "unfiltered": _averaged([one.unfiltered for one in every], len(seeds)),
        "per_sample": _per_sample(folds, name, len(seeds)),
        "seeds": seeds,
        "per_seed": {str(number): {key: float(table[key][row].mean()) for key in SUMMARIES}
                     for row, number in enumerate(seeds)},
        "sd_over_seeds": {key: float(table[key].mean(axis=1).std(ddof=1)) if len(seeds) > 1 else math.nan
                          for key in SUMMARIES},
        "layers": list(layer_names(name, seeds).values()),
    }  # fmt: skip
    if len(every) == 1:
        held, kept = folds[0].source.held, folds[0].kept
        values = folds[0].source.predictions[name][seeds[0]].values
        # Regions redrawn one by one: too narrow where neighbours are alike, but known to every reader.
        result["pcc_m_interval"] = list(bootstrap_interval(held.observed[kept], values[kept], seed=seed))
    return result


def _by_seed(folds: list[FoldScores], name: str, key: str) -> Floats:
    seeds = folds[0].methods[name]
    return np.array([[fold.methods[name][number].summary[key] for fold in folds] for number in seeds])


def _put_seed_intervals(methods: dict[str, dict[str, Any]], folds: list[FoldScores], seed: int) -> None:
    """Add to the scores of each seed the interval over blocks, where a method has several."""
    for number in {number for one in methods.values() if len(one["seeds"]) > 1 for number in one["seeds"]}:
        redrawn = redrawn_scores([fold.scored(number) for fold in folds], seed=seed)
        for name, scores in redrawn.items():
            if len(methods[name]["seeds"]) > 1:
                of_seed = methods[name]["per_seed"][str(number)]
                of_seed["interval_blocks"] = list(interval(scores["pcc_m"], of_seed["pcc_m"]))


def _fold(fold: FoldScores, redrawn: dict[str, dict[str, Floats]] | None, seed: int) -> dict[str, Any]:
    redrawn = redrawn or redrawn_scores([fold.scored()], seed=seed)
    return {
        "name": fold.source.fold.name,
        "test": list(fold.source.fold.test),
        "n_regions": int(fold.kept.sum()),
        "excluded_regions": int((~fold.kept).sum()),
        "n_variable": len(fold.source.fold.variable),
        "noise_estimate": fold.attainable,
        "methods": {
            name: {
                **{key: fold.mean(name, key) for key in SUMMARIES},
                "interval_blocks": list(interval(redrawn[name]["pcc_m"], fold.mean(name, "pcc_m"))),
            }
            for name in fold.methods
        },
    }


def _paired(
    folds: list[FoldScores], methods: dict[str, dict[str, Any]], redrawn: dict[str, Floats]
) -> dict[str, Any] | None:
    """Compare the main method with each other one."""
    main = main_method(list(methods))
    against = {}
    for name in methods:
        if name != main:
            of_folds = np.array([fold.mean(main, "pcc_m") - fold.mean(name, "pcc_m") for fold in folds])
            difference = methods[main]["pcc_m"] - methods[name]["pcc_m"]
            ratio = methods[main]["pcc_m"] / methods[name]["pcc_m"] if methods[name]["pcc_m"] > 0 else math.nan
            test = paired_test(difference, redrawn[main] - redrawn[name], of_folds)
            against[name] = {"ratio": ratio, **test}
    return {"method": main, "against": against} if against else None


def _per_sample(folds: list[FoldScores], name: str, seeds: int) -> dict[str, Any]:
    """Give the scores of each sample; of one that is cut into blocks, the mean over them."""
    found: dict[str, list[Score]] = {}
    for fold in folds:
        for one in fold.methods[name].values():
            for sample, result in one.per_sample.items():
                found.setdefault(sample, []).append(result)
    return {sample: _averaged(results, seeds) for sample, results in found.items()}


def _averaged(results: Sequence[Score], seeds: int) -> dict[str, float | int]:
    """Average scores over folds and seeds; whole numbers are summed over folds."""
    numbers = [{key: value for key, value in one.items() if isinstance(value, int | float)} for one in results]
    average: dict[str, float | int] = {}
    for key, value in numbers[0].items():
        column = [one[key] for one in numbers]
        if key == "n_genes" or not isinstance(value, int):
            average[key] = value if len(column) == 1 else float(np.mean(column))
        else:
            average[key] = round(sum(column) / seeds)
    return average


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
