"""Neighbouring regions of an array merged into larger ones: another scale on real data.

The regions of an array do not overlap, so what a merged region holds is exactly the sum over its members: of counts,
and of a field's integrals. No new shape is needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from benchmarks.accuracy.protocol_plan import ProtocolPlan
from benchmarks.accuracy.results import SUMMARY
from pixnet.digest import digest
from pixnet.errors import DataError
from pixnet.evaluation.methods import measured_logs
from pixnet.evaluation.runs import Arrays, Run
from pixnet.evaluation.splits import Split
from pixnet.expression import normalise
from pixnet.model import PixNet
from pixnet.sample.panel import GenePanel, panel_counts
from pixnet.sample.sample import enough_counts
from pixnet.scoring.bootstrap import Scored, interval, redrawn_scores
from pixnet.scoring.metrics import score
from pixnet.scoring.table import ALL, rows

if TYPE_CHECKING:
    from pixnet.field import ExpressionField
    from pixnet.regions import Regions
    from pixnet.sample import Sample

MERGING_VERSION = 1
"""Raise it when merged regions or what is predicted for them change."""

Members = NDArray[np.int64]


def merged_members(sample: Sample, by: int, usable: ArrayLike | None = None) -> Members:
    """Group the regions of a square array into blocks of `by` x `by` neighbours.

    The blocks begin where the most of them are full. Blocks at the tissue's edge that are not full are left out.

    Parameters
    ----------
    sample
        A sample with the integer columns `array_x` and `array_y` in the table of its regions.
    by
        Regions on a side of a block, 2 or more.
    usable
        Whether a region may be in a block, such as one with enough counts, shape (n,); all may by default.

    Returns
    -------
    array
        Rows of the sample, shape (m, by * by).

    Raises
    ------
    DataError
        If the sample does not have these columns, or no block is full.
    """
    obs = sample.counts.obs
    if by < 2:
        raise DataError(f"merging {by} x {by} regions changes nothing; give 2 or more.")
    if obs is None or not {"array_x", "array_y"} <= set(obs.columns):
        raise DataError(
            f"sample {sample.id!r}: the columns array_x and array_y are missing, so its regions cannot be merged."
        )
    place = obs[["array_x", "array_y"]].to_numpy(np.int64)
    rows = np.arange(len(place)) if usable is None else np.flatnonzero(np.asarray(usable, np.bool_))
    if not len(rows):
        raise DataError(f"sample {sample.id!r}: none of its regions has enough counts to be merged.")
    place = place[rows] - place[rows].min(axis=0)
    best: Members = np.zeros((0, by * by), np.int64)
    for shift in np.ndindex(by, by):
        block = (place + np.array(shift)) // by
        _, found, size = np.unique(block, axis=0, return_inverse=True, return_counts=True)
        full = np.flatnonzero(size == by * by)
        if len(full) > len(best):
            order = np.argsort(found.ravel(), kind="stable")
            start = np.concatenate([[0], np.cumsum(size)[:-1]])
            best = rows[order[start[full][:, None] + np.arange(by * by)]]
    if not len(best):
        raise DataError(f"sample {sample.id!r}: no block of {by} x {by} regions is full; merge fewer.")
    return best


def merged_centers(regions: Regions, members: Members) -> NDArray[np.float64]:
    """Return the centre of each merged region in um, shape (m, 2)."""
    return np.asarray(regions.centers_um[members].mean(axis=1))


def merged_observed(sample: Sample, panel: GenePanel, members: Members) -> NDArray[np.float32]:
    """Return the log-normalised sums of the counts of each merged region's members, shape (m, g)."""
    return normalise(panel_counts(sample, panel)[members].sum(axis=1), sample.depth[members].sum(axis=1))


def merged_logs(values: ArrayLike, members: Members) -> NDArray[np.float32]:
    """Merge log-normalised predictions, shape (n, g), of a method that predicts shares: log1p of the mean, (m, g)."""
    shares = np.expm1(np.asarray(values, np.float64))
    return np.asarray(np.log1p(shares[members].mean(axis=1)), np.float32)


def merged_field(field: ExpressionField, regions: Regions, members: Members) -> NDArray[np.float32]:
    """Sum a field's integrals over the members of each merged region and normalise them, shape (m, g).

    The integrals of a `rate` head are expected counts (see `pixnet.evaluation.methods.measured_logs`). The other heads
    hold log-normalised values, so the sum of the integrals over the sum of the areas is the mean over members.
    """
    if field.head.kind == "rate":
        counts = np.asarray(field.query(regions, field.head.genes).X, np.float64)
        return measured_logs(counts[members].sum(axis=1))
    areas = regions.areas_um2[:, None]
    values = np.asarray(field.query(regions).X, np.float64)
    integrals = values * areas if field.head.kind == "mean" else values
    unit = areas[members].sum(axis=1) if field.head.kind == "mean" else float(members.shape[1])
    return np.asarray(integrals[members].sum(axis=1) / unit, np.float32)


class MergedPlan:
    """The runs of a protocol with its first seed, scored on blocks of `by` x `by` regions; nothing is trained.

    Only regions with enough counts are merged, for every method. PixNet predicts the fields of the held-out slides
    again.
    """

    def __init__(self, plan: ProtocolPlan, by: int = 2) -> None:
        self.plan = plan
        self.by = by
        self.store = plan.store
        self.name = plan.name
        self.runs: list[tuple[str, Run]] = []
        self.seed = plan.protocols[""].seeds[0]
        first = sorted(run.key for _, run in plan.runs if run.seed == self.seed)
        depends_on = {**plan.summary.depends_on, "runs": first, "merged": by, "version": MERGING_VERSION}
        self.summary = Run(f"{SUMMARY} of merged regions", ALL, self.seed, depends_on)

    def summarise(self) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Score every method on merged regions."""
        protocol, scored = self.plan.protocols[""], []
        for fold in protocol.folds:
            split = fold.split(self.plan.samples)
            members = [merged_members(s, self.by, enough_counts(s, protocol.min_counts)) for s in split.test]
            runs = [run for _, run in self.plan.runs if (run.fold, run.seed) == (fold.name, self.seed)]
            predicted = {run.method: [self._predicted(run, split, members)] for run in runs}
            pairs = list(zip(split.test, members, strict=True))
            truth = np.concatenate([merged_observed(sample, fold.panel, chosen) for sample, chosen in pairs])
            centers = np.concatenate([merged_centers(sample.regions, chosen) for sample, chosen in pairs])
            owner = np.repeat(np.arange(len(members)), [len(chosen) for chosen in members])
            scored.append(Scored(truth, predicted, centers, owner, [sample.donor for sample in split.test]))
        draws, parts = redrawn_scores(scored), []
        for method in scored[0].predicted:
            results = [score(fold.truth, fold.predicted[method][0]) for fold in scored]
            pcc_m = float(np.mean([result["pcc_m"] for result in results]))
            values = {
                "pcc_m": (pcc_m, *interval(draws[method]["pcc_m"], pcc_m)),
                "mse": float(np.mean([result["mse"] for result in results])),
                "n_regions": sum(len(fold.truth) for fold in scored),
            }
            parts.append(rows(values, method=method, regions=f"{self.by} x {self.by}", seed=str(self.seed)))
        return pd.concat(parts, ignore_index=True), {}

    def score(self, variant: str, run: Run) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Raise an error, since this plan has no runs."""
        raise NotImplementedError

    def read_again(self, run: Run, members: list[Members]) -> Run:
        """Name the reading of merged regions from the fields of a run of PixNet."""
        # Which regions are merged depends on their counts and places in the array, which the run's key leaves out.
        merged = digest([chosen.tolist() for chosen in members])
        depends_on = {"of": run.key, "members": merged, "version": MERGING_VERSION}
        return Run("pixnet-merged", run.fold, run.seed, depends_on)

    def _predicted(self, run: Run, split: Split, members: list[Members]) -> NDArray[np.float32]:
        """Return a method's predictions of merged regions, all samples of the fold one after the other."""
        pairs = list(zip(split.test, members, strict=True))
        if run.method != "pixnet":
            values = self.plan.values(run)
            return np.concatenate([merged_logs(values[sample.id], chosen) for sample, chosen in pairs])
        again = self.read_again(run, members)

        def compute(work: Path) -> tuple[Arrays, dict[str, Any]]:
            self.plan.compute(run)  # for its model
            model, arrays, fields = PixNet.load(self.plan.store.path(run) / "model"), {}, work / "fields"
            shutil.rmtree(fields, ignore_errors=True)  # left by a session that was killed
            for sample, chosen in pairs:
                field = model.predict(
                    sample.slide, fields / sample.id, tissue_mask=False, device=self.plan.options.device
                )
                arrays[sample.id] = merged_field(field, sample.regions, chosen)
            return arrays, {}

        arrays = self.plan.store.get(again, compute).arrays
        return np.concatenate([arrays[sample.id] for sample in split.test])
