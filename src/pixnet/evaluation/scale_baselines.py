"""How a baseline is asked for regions of any size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixnet.evaluation.scales import asked_points

if TYPE_CHECKING:
    from pixnet.evaluation.baselines import Baseline
    from pixnet.regions import Regions
    from pixnet.slide import Slide


def ask_baseline(baseline: Baseline, slide: Slide, sets: Mapping[str, Regions]) -> dict[str, NDArray[np.float32]]:
    """Give the log-normalised values and the density that a fitted baseline predicts.

    A method that can predict regions is asked for them. A crop method predicts each region, however small, from the
    crop round its centre: one prediction for all sizes at a place.

    Parameters
    ----------
    baseline
        Fitted with `density`.
    slide
        The picture.
    sets
        From `asked_regions`.

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
        tables = {name: baseline.predict(slide, points) for name, points in asked_points(sets).items()}
    arrays = {f"{name}|log": table[:, :-1] for name, table in tables.items()}
    return arrays | {f"{name}|density": table[:, -1] for name, table in tables.items()}


def choices(baseline: Baseline) -> dict[str, Any]:
    """Give the numbers and words that a fitted baseline tells of itself, such as a penalty that it chose."""
    facts = {name: value for name, value in vars(baseline).items() if not name.startswith("_")}
    plain = {name: value for name, value in facts.items() if isinstance(value, bool | int | float | str)}
    return {name: value for name, value in plain.items() if not isinstance(value, float) or math.isfinite(value)}
