"""What an evaluation leaves behind: scores as JSON, genes as CSV, and every prediction as a table."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.evaluation.metrics import Score, bootstrap_interval, score
from pixnet.expression import NoiseEstimate, enough_counts, noise_estimate, normalise
from pixnet.panel import panel_counts

if TYPE_CHECKING:
    import anndata

    from pixnet.panel import GenePanel
    from pixnet.sample import Sample

Floats = NDArray[np.float64]

RESULTS = "results.json"
PER_GENE = "per_gene.csv"
PREDICTIONS = "predictions.h5ad"

_PARTIAL = ".partial"


@dataclass(frozen=True)
class Prediction:
    """What one method predicts for the held-out regions, and what that cost.

    Attributes
    ----------
    values
        (n, g) log-normalised expression, NaN where there is no prediction.
    seconds
        Time of training and prediction.
    peak_rss_mb
        Most memory that the process held meanwhile, in MB of 10^6 bytes.
    """

    values: NDArray[np.float32]
    seconds: float
    peak_rss_mb: float


class HeldOut:
    """The measured truth of the held-out samples, one after the other.

    Parameters
    ----------
    samples
        The held-out samples.
    panel
        Genes that are predicted.
    min_counts
        Regions with fewer counts are left out of the main scores.

    Attributes
    ----------
    counts, observed
        (n, g) raw counts, and log1p of counts per 10,000.
    total
        (n,) counts over all genes.
    owner
        (n,) which sample a region is of.
    enough
        (n,) whether it has enough counts.
    """

    def __init__(self, samples: Sequence[Sample], panel: GenePanel, min_counts: int) -> None:
        self.samples, self.panel = list(samples), panel
        self.counts = np.concatenate([panel_counts(sample, panel) for sample in samples])
        self.total: Floats = np.concatenate([sample.depth for sample in samples])
        self.observed = normalise(self.counts, self.total)
        self.owner = np.repeat(np.arange(len(samples)), [len(sample.regions) for sample in samples])
        self.enough = np.concatenate([enough_counts(sample, min_counts) for sample in samples])


def summarise(held: HeldOut, predictions: Mapping[str, Prediction], protocol: dict[str, Any], seed: int) -> Outcome:
    """Score every method on the same regions and genes.

    Parameters
    ----------
    held
        The truth.
    predictions
        By method.
    protocol
        What was done; goes into the results as it is.
    seed
        Of the noise estimate's splits and the intervals.

    Raises
    ------
    DataError
        If fewer than two regions can be scored.
    """
    finite = np.all([np.isfinite(p.values).all(axis=1) for p in predictions.values()], axis=0)
    kept = held.enough & finite
    scores = {name: score(held.observed[kept], p.values[kept]) for name, p in predictions.items()}
    noise = noise_estimate(held.counts[kept], held.total[kept], seed=seed)
    # The scores leave out genes that do not vary; the estimate that they are compared with does too.
    varies = np.ptp(held.observed[kept], axis=0) > 0
    attainable = _summary(noise.per_gene[varies])
    methods = {}
    for name, prediction in predictions.items():
        observed, values = held.observed, prediction.values
        low, high = bootstrap_interval(observed[kept], values[kept], seed=seed)
        methods[name] = {
            **_numbers(scores[name]),
            "seconds": prediction.seconds,
            "peak_rss_mb": prediction.peak_rss_mb,
            "pcc_m_interval": [low, high],
            "noise_share": scores[name]["pcc_m"] / attainable["pcc_m"] if attainable["pcc_m"] > 0 else math.nan,
            "unfiltered": _numbers(score(observed[finite], values[finite])),
            "per_sample": {
                sample.id: _numbers(score(observed[rows], values[rows]))
                for number, sample in enumerate(held.samples)
                if (rows := kept & (held.owner == number)).sum() >= 2
            },
        }
    protocol = {**protocol, "regions_without_prediction": int((~finite).sum())}
    results = {
        "protocol": protocol,
        "methods": methods,
        "noise_estimate": {**attainable, "genes_without_signal": noise.negative},
        "excluded_regions": int((~kept).sum()),
        "per_gene": PER_GENE,
    }
    return Outcome(held, predictions, scores, noise, kept, results)


@dataclass(frozen=True)
class Outcome:
    """An evaluation that is done.

    Attributes
    ----------
    held
        The truth.
    predictions, scores
        By method.
    noise
        Estimate of the attainable correlation.
    kept
        (n,) regions that the main scores are over.
    results
        Content of `results.json`.
    """

    held: HeldOut
    predictions: Mapping[str, Prediction]
    scores: Mapping[str, Score]
    noise: NoiseEstimate
    kept: NDArray[np.bool_]
    results: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write `results.json`, `per_gene.csv` and `predictions.h5ad` into a folder."""
        self.table().write_h5ad(folder / PREDICTIONS, compression="gzip")
        self._write_per_gene(folder / PER_GENE)
        text = json.dumps(_finite(self.results), indent=1, allow_nan=False)
        (folder / RESULTS).write_text(text + "\n", encoding="utf-8")

    def table(self) -> anndata.AnnData:
        """Give truth and predictions of all held-out regions.

        Returns
        -------
        AnnData
            Rows are regions, columns the panel's genes. `X`: observed log-normalised expression; a layer for each
            method. `obs`: `sample`, `x_um`, `y_um`, `size_um` (width of its bounds), `total_counts`, `kept` (whether
            the main scores count it). `var`: `mean_counts`, `noise_estimate`, `pcc_<method>`.
        """
        import anndata
        import pandas as pd

        held = self.held
        regions = [sample.regions for sample in held.samples]
        bounds = np.concatenate([part.bounds_um for part in regions])
        centers = np.concatenate([part.centers_um for part in regions])
        names = [f"{sample.id}:{name}" for sample in held.samples for name in sample.counts.region_names()]
        obs = pd.DataFrame(
            {
                "sample": pd.Categorical([held.samples[number].id for number in held.owner]),
                "x_um": centers[:, 0],
                "y_um": centers[:, 1],
                "size_um": bounds[:, 2] - bounds[:, 0],
                "total_counts": held.total,
                "kept": self.kept,
            },
            index=pd.Index(names, dtype=object),
        )
        var = pd.DataFrame(self._per_gene(), index=pd.Index(held.panel.names, dtype=object))
        table = anndata.AnnData(held.observed, obs=obs, var=var)
        for name, prediction in self.predictions.items():
            table.layers[name] = prediction.values
        table.uns["units"] = "log1p of counts per 10,000"
        return table

    def _per_gene(self) -> dict[str, Floats]:
        columns: dict[str, Floats] = {
            "mean_counts": self.held.counts[self.kept].mean(axis=0, dtype=np.float64),
            "noise_estimate": self.noise.per_gene,
        }
        return columns | {f"pcc_{name}": result["per_gene"] for name, result in self.scores.items()}

    def _write_per_gene(self, path: Path) -> None:
        columns = self._per_gene()
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["gene", *columns])
            for row, gene in enumerate(self.held.panel.names):
                values = (float(column[row]) for column in columns.values())
                writer.writerow([gene, *(f"{value:.6g}" if math.isfinite(value) else "" for value in values)])


@contextmanager
def replacing(out: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder inside `out`; what it holds takes its place in `out` if nothing fails."""
    made = ("model", "fields", PREDICTIONS, PER_GENE, "report.html", RESULTS)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; give a folder for the results.")
    if not (out / RESULTS).exists():
        taken = [name for name in made if (out / name).exists()]
        if taken:
            raise DataError(f"{out}: holds {taken[0]!r} but no {RESULTS}; give another folder.")
    elif not overwrite:
        raise DataError(f"{out}: holds {RESULTS} already; give another folder, or --overwrite.")
    existed = out.exists()
    partial = out / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        (out / RESULTS).unlink(missing_ok=True)  # last to come, so first to go
        for name in made:
            old, new = out / name, partial / name
            if old.is_dir():
                shutil.rmtree(old)
            old.unlink(missing_ok=True)
            if new.exists():
                os.replace(new, old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not existed and not any(out.iterdir()):
            out.rmdir()


def _numbers(result: Score) -> dict[str, float | int]:
    return {key: value for key, value in result.items() if isinstance(value, int | float)}


def _summary(per_gene: Floats) -> dict[str, float]:
    """Give first quartile, median and mean over genes, as for the scores."""
    if not len(per_gene):
        return dict.fromkeys(("pcc_f", "pcc_s", "pcc_m"), math.nan)
    first, median = np.percentile(per_gene, [25, 50])
    return {"pcc_f": float(first), "pcc_s": float(median), "pcc_m": float(per_gene.mean())}


def _finite(value: Any) -> Any:
    """Put null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
