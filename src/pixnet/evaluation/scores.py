"""Scores of one fold: every method, with every seed, on the same regions and genes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.evaluation.held_out import Floats, FoldPredictions, Prediction
from pixnet.expression import NoiseEstimate, noise_estimate
from pixnet.scoring.axes import (
    correlation_without_axes,
    pair_agreement,
    participation_above_noise,
    participation_ratio,
    without_axes,
)
from pixnet.scoring.bootstrap import Scored
from pixnet.scoring.metrics import Score, correlation_given_depth, quartiles, rank_correlation, score
from pixnet.scoring.spatial import morans_i, neighbour_weights
from pixnet.scoring.table import gene_rows, rows

NOISE = "noise estimate"
"""Stands in the table as a method: the correlation that counting noise leaves to be reached."""

AXES = (1, 2, 3)
"""Numbers of main axes of the predictions without which PCC@M is given, see `beyond`."""


def beyond(axes: int) -> str:
    """Name the metric that is PCC@M without the first `axes` axes of the predictions."""
    return f"pcc_m_beyond_{axes}"


METRICS = (
    "mse", "mae", "pcc_f", "pcc_s", "pcc_m", "spearman_m", "pcc_m_variable", "pcc_m_given_depth", *map(beyond, AXES),
    "participation_ratio", "pair_agreement", "moran_residual",
)  # fmt: skip
"""Metrics that are averaged over folds and seeds."""

SIZES = ("n_regions", "n_genes", "n_constant_observed", "n_constant_predicted")
PER_GENE = ("pcc", "spearman", "mse", "moran")


@dataclass(frozen=True)
class FoldScores:
    """The scores of one fold.

    Attributes
    ----------
    source
        Truth and predictions.
    kept
        (n,) regions that the main scores are over: enough counts, and a prediction by every method.
    covered
        (n,) regions with a prediction by every method.
    noise
        Estimate of the attainable correlation.
    table
        The long table of every method and seed, and of the noise estimate.
    """

    source: FoldPredictions
    kept: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    noise: NoiseEstimate
    table: pd.DataFrame

    def scored(self, seed: int | None = None) -> Scored:
        """Return what can be redrawn for intervals: all seeds, or one seed of the methods that have it."""
        held, kept = self.source.held, self.kept
        predicted = {
            name: [prediction.values[kept] for number, prediction in by_seed.items() if seed in (None, number)]
            for name, by_seed in self.source.predictions.items()
            if seed is None or seed in by_seed
        }
        return self._scored(held.observed[kept], predicted)

    def scored_without(self, axes: int, method: str, seed: int) -> Scored:
        """Return the same of one run, without the first axes of its predictions."""
        predicted = self.source.predictions[method][seed].values[self.kept]
        truth, left = without_axes(self.source.held.observed[self.kept], predicted, axes)
        return self._scored(truth, {method: [left]})

    def _scored(self, truth: NDArray[np.floating], predicted: Mapping[str, Sequence[NDArray[np.floating]]]) -> Scored:
        held, kept = self.source.held, self.kept
        donors = [sample.donor for sample in held.samples]
        return Scored(truth, predicted, held.centers_um[kept], held.owner[kept], donors)


def score_fold(source: FoldPredictions, seed: int) -> FoldScores:
    """Score every method on the same regions and genes; `seed` is of the noise estimate's splits.

    Raises
    ------
    DataError
        If fewer than two regions can be scored.
    """
    held, fold = source.held, source.fold
    predictions = [prediction for by_seed in source.predictions.values() for prediction in by_seed.values()]
    covered = np.all([np.isfinite(prediction.values).all(axis=1) for prediction in predictions], axis=0)
    kept = held.enough & covered
    parts = [
        _run_table(source, prediction, kept, covered).assign(method=name, fold=fold.name, seed=str(number))
        for name, by_seed in source.predictions.items()
        for number, prediction in by_seed.items()
    ]
    noise = noise_estimate(held.counts[kept], held.total[kept], seed=seed)
    # The scores leave out genes that do not vary, and so does the estimate that they are compared with.
    varies = np.ptp(held.observed[kept], axis=0) > 0
    attainable = dict(zip(("pcc_f", "pcc_s", "pcc_m"), quartiles(noise.per_gene[varies]), strict=True))
    axes = participation_above_noise(held.counts[kept], held.total[kept], seed)
    parts.append(rows({**attainable, "participation_ratio": axes}, method=NOISE, fold=fold.name))
    mean_counts = held.counts[kept].mean(axis=0, dtype=np.float64)
    for metric, values in (("pcc", noise.per_gene), ("mean_counts", mean_counts)):
        parts.append(gene_rows(metric, held.panel.names, values, method=NOISE, fold=fold.name))
    return FoldScores(source, kept, covered, noise, pd.concat(parts, ignore_index=True))


def _run_table(
    source: FoldPredictions, prediction: Prediction, kept: NDArray[np.bool_], covered: NDArray[np.bool_]
) -> pd.DataFrame:
    """Return the rows of one method with one seed."""
    held, values = source.held, prediction.values
    observed, predicted = held.observed[kept], values[kept]
    result = score(observed, predicted)
    residual = np.asarray(predicted, np.float64) - observed
    per_gene = {
        "pcc": result["per_gene"],
        "spearman": rank_correlation(observed, predicted),
        "mse": (residual**2).mean(axis=0),
        "moran": morans_i(residual, neighbour_weights(held.centers_um[kept], held.owner[kept])),
    }
    variable = np.isin(held.panel.names, source.fold.variable)
    summary = _summary(result) | {
        "spearman_m": _mean(per_gene["spearman"]),
        "pcc_m_variable": _mean(result["per_gene"][variable]),
        "pcc_m_given_depth": _mean(correlation_given_depth(observed, predicted, held.total[kept])),
        "moran_residual": _mean(per_gene["moran"]),
        **{beyond(axes): _mean(correlation_without_axes(observed, predicted, axes)) for axes in AXES},
        "participation_ratio": participation_ratio(predicted),
        "pair_agreement": pair_agreement(observed, predicted),
    }
    costs = {
        "seconds": prediction.seconds,
        "seconds_shared": prediction.shared_seconds,
        "peak_rss_mb": prediction.peak_rss_mb,
    }
    parts = [
        rows(summary | costs, method=""),
        rows(_summary(score(held.observed[covered], values[covered])), method="", regions="all"),
    ]
    for number, sample in enumerate(held.samples):
        own = kept & (held.owner == number)
        if own.sum() >= 2:
            parts.append(rows(_summary(score(held.observed[own], values[own])), method="", sample=sample.id))
    parts += [gene_rows(metric, held.panel.names, found, method="") for metric, found in per_gene.items()]
    return pd.concat(parts, ignore_index=True)


def _summary(result: Score) -> dict[str, float]:
    return {name: float(value) for name, value in result.items() if name != "per_gene"}  # type: ignore[arg-type]


def _mean(per_gene: Floats) -> float:
    """Average over the genes that vary."""
    finite = per_gene[np.isfinite(per_gene)]
    return float(finite.mean()) if len(finite) else math.nan
