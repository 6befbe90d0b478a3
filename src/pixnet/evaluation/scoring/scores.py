"""The scores of one fold: every method, with every seed, on the same regions and genes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixnet.evaluation.scoring.bootstrap import Scored
from pixnet.evaluation.scoring.held_out import Floats, FoldPredictions
from pixnet.evaluation.scoring.metrics import Score, correlation_given_depth, rank_correlation, score
from pixnet.evaluation.scoring.spatial import morans_i, neighbour_weights
from pixnet.expression import NoiseEstimate, noise_estimate

SUMMARIES = (
    "mse", "mae", "pcc_f", "pcc_s", "pcc_m", "spearman_m", "pcc_m_variable", "pcc_m_given_depth", "moran_residual",
)  # fmt: skip
"""Scores that are averaged over folds and seeds."""


@dataclass(frozen=True)
class MethodScores:
    """The scores of one method with one seed.

    Attributes
    ----------
    score
        Over the kept regions.
    spearman, mse, moran
        (g,) by gene: rank correlation, mean squared error, Moran's I of the residual.
    summary
        `SUMMARIES` by name.
    unfiltered
        Over all regions that have a prediction.
    per_sample
        Score of each sample with two regions or more.
    """

    score: Score
    spearman: Floats
    mse: Floats
    moran: Floats
    summary: dict[str, float]
    unfiltered: Score
    per_sample: dict[str, Score]


@dataclass(frozen=True)
class FoldScores:
    """The scores of one fold.

    Attributes
    ----------
    source
        What was scored.
    kept
        (n,) regions that the main scores are over: enough counts, and a prediction by every method.
    without
        How many regions lack a prediction.
    noise
        Estimate of the attainable correlation.
    attainable
        Its first quartile, median and mean over the genes that vary.
    methods
        By method, then by seed.
    """

    source: FoldPredictions
    kept: NDArray[np.bool_]
    without: int
    noise: NoiseEstimate
    attainable: dict[str, float]
    methods: dict[str, dict[int, MethodScores]]

    @classmethod
    def of(cls, source: FoldPredictions, seed: int) -> FoldScores:
        """Score every method on the same regions and genes.

        Parameters
        ----------
        source
            Truth and predictions.
        seed
            Of the noise estimate's splits.

        Raises
        ------
        DataError
            If fewer than two regions can be scored.
        """
        held = source.held
        every = [one.values for of_seed in source.predictions.values() for one in of_seed.values()]
        finite = np.all([np.isfinite(values).all(axis=1) for values in every], axis=0)
        kept = held.enough & finite
        methods = {
            name: {number: _scores(source, one.values, kept, finite) for number, one in of_seed.items()}
            for name, of_seed in source.predictions.items()
        }
        noise = noise_estimate(held.counts[kept], held.total[kept], seed=seed)
        # The scores leave out genes that do not vary; the estimate that they are compared with does too.
        varies = np.ptp(held.observed[kept], axis=0) > 0
        return cls(source, kept, int((~finite).sum()), noise, _quartiles(noise.per_gene[varies]), methods)

    def scored(self, seed: int | None = None) -> Scored:
        """Give what can be redrawn for intervals: all seeds, or one seed of the methods that have it."""
        held, kept = self.source.held, self.kept
        predicted = {
            name: [one.values[kept] for number, one in of_seed.items() if seed in (None, number)]
            for name, of_seed in self.source.predictions.items()
            if seed is None or seed in of_seed
        }
        donors = [sample.donor for sample in held.samples]
        return Scored(held.observed[kept], predicted, held.centers_um[kept], held.owner[kept], donors)

    def mean(self, method: str, key: str) -> float:
        """Give a summary of a method, averaged over its seeds."""
        return float(np.mean([one.summary[key] for one in self.methods[method].values()]))

    def per_gene(self) -> dict[str, Floats]:
        """Give the columns of the table by gene; of several seeds, the mean."""
        counts = self.source.held.counts[self.kept].mean(axis=0, dtype=np.float64)
        columns: dict[str, Floats] = {"mean_counts": counts, "noise_estimate": self.noise.per_gene}
        kinds: dict[str, Any] = {
            "pcc": lambda one: one.score["per_gene"],
            "spearman": lambda one: one.spearman,
            "mse": lambda one: one.mse,
            "moran": lambda one: one.moran,
        }
        for kind, of in kinds.items():
            for name, of_seed in self.methods.items():
                columns[f"{kind}_{name}"] = np.mean([of(one) for one in of_seed.values()], axis=0)
        return columns


def _scores(
    source: FoldPredictions, values: NDArray[np.float32], kept: NDArray[np.bool_], finite: NDArray[np.bool_]
) -> MethodScores:
    held = source.held
    observed, predicted = held.observed[kept], values[kept]
    result = score(observed, predicted)
    spearman = rank_correlation(observed, predicted)
    residual = np.asarray(predicted, np.float64) - observed
    moran = morans_i(residual, neighbour_weights(held.centers_um[kept], held.owner[kept]))
    variable = np.isin(held.panel.names, source.fold.variable)
    summary = {key: float(result[key]) for key in ("mse", "mae", "pcc_f", "pcc_s", "pcc_m")}
    summary["spearman_m"] = _mean(spearman)
    summary["pcc_m_variable"] = _mean(result["per_gene"][variable])
    summary["pcc_m_given_depth"] = _mean(correlation_given_depth(observed, predicted, held.total[kept]))
    summary["moran_residual"] = _mean(moran)
    per_sample = {
        sample.id: score(held.observed[rows], values[rows])
        for number, sample in enumerate(held.samples)
        if (rows := kept & (held.owner == number)).sum() >= 2
    }
    unfiltered = score(held.observed[finite], values[finite])
    return MethodScores(result, spearman, (residual**2).mean(axis=0), moran, summary, unfiltered, per_sample)


def _mean(per_gene: Floats) -> float:
    """Average over the genes that vary."""
    finite = per_gene[np.isfinite(per_gene)]
    return float(finite.mean()) if len(finite) else math.nan


def _quartiles(per_gene: Floats) -> dict[str, float]:
    """Give first quartile, median and mean over genes, as for the scores."""
    if not len(per_gene):
        return dict.fromkeys(("pcc_f", "pcc_s", "pcc_m"), math.nan)
    first, median = np.percentile(per_gene, [25, 50])
    return {"pcc_f": float(first), "pcc_s": float(median), "pcc_m": float(per_gene.mean())}
