"""Predictions of a field or a baseline for regions of any size, and whether small regions add up to large ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixnet.demo.regions import region_points
from pixnet.evaluation.methods import measured_logs
from pixnet.field import ExpressionField
from pixnet.regions import Regions, Squares

if TYPE_CHECKING:
    from pixnet.evaluation.baselines import Baseline
    from pixnet.slide import Slide

SQUARE_UM, BIN_UM = 104, 8
"""Sides of the squares that must add up, and of the bins that they are added up from."""


def predict_field(field: ExpressionField, sets: Mapping[str, Regions]) -> dict[str, NDArray[np.float32]]:
    """Return what a field predicts for regions (see `regions_by_size`), for all genes of the panel.

    Returns
    -------
    dict
        (n, g) by `NAME|log`, log-normalised shares; by `NAME|counts`, expected counts; and, of a `rate` head, by
        `NAME|measured-log`, what log-normalised measurements are expected to be (see `measured_logs`).
    """
    arrays, genes = {}, len(field.gene_names)
    for name, regions in sets.items():
        counts, logs = counts_and_logs(field, regions, field.head.genes)
        arrays[f"{name}|counts"], arrays[f"{name}|log"] = counts[:, :genes], logs[:, :genes]
        if field.head.kind == "rate":
            arrays[f"{name}|measured-log"] = measured_logs(counts)
    return arrays


def counts_and_logs(
    field: ExpressionField, regions: Regions, genes: Sequence[str] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return expected counts and log-normalised values, (n, g) each.

    A head other than `rate` predicts shares only; their product with the area is used for the counts.
    """
    table = field.query(regions, genes)
    values = np.asarray(table.X, np.float32)
    if field.head.kind == "rate":
        return values, np.asarray(table.layers["log1p"], np.float32)
    areas = regions.areas_um2[:, None]
    logs = np.asarray(values / areas if field.head.kind == "sum" else values, np.float32)
    return np.asarray(np.expm1(logs.astype(np.float64)) * areas, np.float32), logs


def additivity_error(field: ExpressionField, width_um: float, height_um: float) -> float | None:
    """Sum 8-um bins to 104-um squares, and compare with the field's values of the squares themselves, for all genes.

    As many squares as fit on the slide are compared. Return the largest difference over the largest value of a square;
    None for a head that predicts means, which do not add up, and for a slide that is too small for a square.
    """
    cols, rows = int(width_um // SQUARE_UM), int(height_um // SQUARE_UM)
    if field.head.kind == "mean" or not cols or not rows:
        return None
    whole, parts = (
        np.asarray(field.query(Squares.tiling(0, 0, cols * SQUARE_UM, rows * SQUARE_UM, side)).X, np.float64)
        for side in (SQUARE_UM, BIN_UM)
    )
    side = SQUARE_UM // BIN_UM
    summed = parts.reshape(rows, side, cols, side, -1).sum(axis=(1, 3)).reshape(whole.shape)
    return float(np.abs(summed - whole).max() / np.abs(whole).max())


def predict_baseline(baseline: Baseline, slide: Slide, sets: Mapping[str, Regions]) -> dict[str, NDArray[np.float32]]:
    """Return the log-normalised values and the density that a baseline, fitted with `density`, predicts for regions.

    A method that can predict regions does so. A crop method predicts each region, however small, from the crop around
    its centre: one prediction for all sizes at a place.

    Returns
    -------
    dict
        By `NAME|log`, (n, g) log-normalised values, and by `NAME|density`, (n,) log(1 + counts per 10,000 um^2), where
        the name is that of the regions or of their points. `expected_counts` makes counts of the two.
    """
    of_regions = getattr(baseline, "predict_regions", None)
    if of_regions is not None:
        tables = {name: of_regions(slide, regions) for name, regions in sets.items()}
    else:
        tables = {name: baseline.predict(slide, points) for name, points in region_points(sets).items()}
    arrays = {f"{name}|log": table[:, :-1] for name, table in tables.items()}
    return arrays | {f"{name}|density": table[:, -1] for name, table in tables.items()}
