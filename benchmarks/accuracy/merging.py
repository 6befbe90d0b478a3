"""Neighbouring regions of an array merged into larger ones: another scale on real data.

The regions of an array do not overlap, so what a merged region holds is exactly the sum over its members: of counts,
and of a field's integrals. No new shape is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import DataError
from pixnet.evaluation.pixnet_method import measured_logs
from pixnet.expression import normalise
from pixnet.sample.panel import GenePanel, panel_counts

if TYPE_CHECKING:
    from pixnet.field import ExpressionField
    from pixnet.regions import Regions
    from pixnet.sample import Sample

MERGING_VERSION = 1
"""Raise it when merged regions or what is predicted for them change."""

Members = NDArray[np.int64]


def merged_members(sample: Sample, by: int, usable: ArrayLike | None = None) -> Members:
    """Group the regions of a square array into blocks of `by` x `by` neighbours.

    Of the ways to lay the blocks on the array, the first that makes the most of them is taken. Blocks at the tissue's
    edge that are not full are left out.

    Parameters
    ----------
    sample
        A sample whose regions have whole-number places `array_x` and `array_y` in its table.
    by
        Regions on a side of a block, 2 or more.
    usable
        (n,) booleans: only these regions may be in a block, such as those with enough counts; all by default.

    Returns
    -------
    array
        (m, by * by) rows of the sample.

    Raises
    ------
    DataError
        If the sample has no such places, or no block is full.
    """
    obs = sample.counts.obs
    if by < 2:
        raise DataError(f"merging {by} x {by} regions changes nothing; give 2 or more.")
    if obs is None or not {"array_x", "array_y"} <= set(obs.columns):
        raise DataError(f"sample {sample.id!r}: does not say where in an array its regions lie; it cannot be merged.")
    place = obs[["array_x", "array_y"]].to_numpy(np.int64)
    rows = np.arange(len(place)) if usable is None else np.flatnonzero(np.asarray(usable, np.bool_))
    if not len(rows):
        raise DataError(f"sample {sample.id!r}: none of its regions can be merged.")
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
        raise DataError(f"sample {sample.id!r}: no {by} x {by} regions of its array are all there; merge fewer.")
    return best


def merged_centers(regions: Regions, members: Members) -> NDArray[np.float64]:
    """Give the middle of each merged region, (m, 2)."""
    return np.asarray(regions.centers_um[members].mean(axis=1))


def merged_observed(sample: Sample, panel: GenePanel, members: Members) -> NDArray[np.float32]:
    """Give the log-normalised values measured in merged regions, (m, g): of the sums of their members' counts."""
    return normalise(panel_counts(sample, panel)[members].sum(axis=1), sample.depth[members].sum(axis=1))


def merged_logs(values: ArrayLike, members: Members) -> NDArray[np.float32]:
    """Merge log-normalised predictions (n, g) of a method that knows shares only: log1p of the mean share, (m, g)."""
    shares = np.expm1(np.asarray(values, np.float64))
    return np.asarray(np.log1p(shares[members].mean(axis=1)), np.float32)


def merged_field(field: ExpressionField, regions: Regions, members: Members) -> NDArray[np.float32]:
    """Read merged regions off a field, (m, g): the sum of their members' integrals, then normalised.

    Of a `rate` head these are expected counts (see `pixnet.evaluation.pixnet_method.measured_logs`). Of the others,
    which hold log-normalised values, the sum of the integrals over the sum of the areas is the mean over members.

    Parameters
    ----------
    field, regions, members
        What is read.
    """
    if field.head.kind == "rate":
        counts = np.asarray(field.query(regions, field.head.genes).X, np.float64)
        return measured_logs(counts[members].sum(axis=1))
    areas = regions.areas_um2[:, None]
    values = np.asarray(field.query(regions).X, np.float64)
    integrals = values * areas if field.head.kind == "mean" else values
    unit = areas[members].sum(axis=1) if field.head.kind == "mean" else float(members.shape[1])
    return np.asarray(integrals[members].sum(axis=1) / unit, np.float32)
