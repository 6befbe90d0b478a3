"""The scores across scales: correlation with the truth and with counts, for every size, against the ceiling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixnet.demo.regions import SIDES, points_of
from pixnet.demo.targets import KINDS, TARGETS, Targets
from pixnet.evaluation.scoring.bootstrap import Scored, interval, paired_test, redrawn_scores
from pixnet.evaluation.scoring.metrics import Score, score

Floats = NDArray[np.float64]
CEILING = "ceiling"

NOT_CROPS = ("pixnet", "istar", "mean")
"""Methods that do not predict a region from the crop round its centre."""


@dataclass(frozen=True)
class AskedSlide:
    """What is known of one slide.

    Attributes
    ----------
    name, side
        The slide, and the group of slides it is averaged with.
    donor
        Who it is of.
    targets
        Targets and best predictions.
    predictions
        By method, the arrays of each seed.
    """

    name: str
    side: str
    donor: str
    targets: Targets
    predictions: Mapping[str, Sequence[Mapping[str, NDArray[np.float32]]]]


def scale_scores(slides: Sequence[AskedSlide], seed: int = 0) -> list[dict[str, Any]]:
    """Score every method for every group of slides, size of regions, target and kind of value.

    PCC@M of a slide is the mean over genes of the correlation over its regions; it is averaged over the slides of a
    group, so that differences between slides (capture, donor) play no part, and over seeds.

    Parameters
    ----------
    slides
        All slides.
    seed
        Of the intervals.

    Returns
    -------
    list of dict
        Of each combination `side`, `regions`, `target`, `kind`: `best_crop`, the crop method that does best there, and
        `methods`: for each, and for the ceiling, `pcc_m` with its `interval` (95 %, blocks of each slide redrawn),
        `pcc_s`, `pcc_f`, `mse`, `sd_over_seeds`, `share` of the ceiling and `ratio` to the best crop method, with
        intervals from the same draws, and `per_slide`. On slides that were trained on there is no share: what the
        picture does not show was seen there in the counts, so the ceiling is no bound. `paired` tests pixnet against
        each other method, as `pixnet.evaluation.results` does.
    """
    rows = []
    for side in dict.fromkeys(slide.side for slide in slides):
        group = [slide for slide in slides if slide.side == side]
        for target in TARGETS:
            for kind in KINDS:
                for name in group[0].targets.names:
                    scored = [_scored(slide, name, target, kind) for slide in group]
                    found = _scores(scored, seed, with_share=side != SIDES[0])
                    places = [len(slide.targets.centers_um(name)) for slide in group]
                    rows.append(
                        {"side": side, "regions": name, "target": target, "kind": kind, "places": places, **found}
                    )
    return rows


def is_crop_method(method: str) -> bool:
    """Tell whether a method predicts a region from the crop round its centre."""
    return method.partition(":")[0] not in (*NOT_CROPS, CEILING)


def _scored(slide: AskedSlide, name: str, target: str, kind: str) -> Scored:
    targets, points = slide.targets, points_of(name)
    predicted: dict[str, list[NDArray[np.float32]]] = {
        method: [targets.predicted(arrays, name, points, target, kind) for arrays in seeds]
        for method, seeds in slide.predictions.items()
    }
    predicted[CEILING] = [targets.best(name, target, kind)]
    observed, centers = targets.observed(name, target, kind), targets.centers_um(name)
    return Scored(observed, predicted, centers, np.zeros(len(centers), np.int64), [slide.donor])


def _scores(slides: Sequence[Scored], seed: int, with_share: bool) -> dict[str, Any]:
    redrawn = {method: scores["pcc_m"] for method, scores in redrawn_scores(slides, seed=seed).items()}
    scored = {
        method: [[score(one.truth, table) for table in one.predicted[method]] for one in slides]
        for method in slides[0].predicted
    }
    points = {method: _column(found, "pcc_m") for method, found in scored.items()}
    mean = {method: float(found.mean()) for method, found in points.items()}
    crops = [method for method in mean if is_crop_method(method)]
    best = max(crops, key=lambda method: mean[method]) if crops else None
    methods = {}
    for method, found in points.items():
        of_seed = found.mean(axis=0)
        methods[method] = {
            "pcc_m": mean[method],
            "interval": list(interval(redrawn[method], mean[method])),
            **{key: float(_column(scored[method], key).mean()) for key in ("pcc_s", "pcc_f", "mse")},
            "sd_over_seeds": float(of_seed.std(ddof=1)) if len(of_seed) > 1 else math.nan,
            "share": _over(mean, redrawn, method, CEILING) if with_share else None,
            "ratio": None if best is None else _over(mean, redrawn, method, best),
            "per_slide": found.mean(axis=1).tolist(),
        }
    return {"best_crop": best, "methods": methods, "paired": _paired(points, redrawn)}


def _column(scored: Sequence[Sequence[Score]], key: Literal["pcc_m", "pcc_s", "pcc_f", "mse"]) -> Floats:
    """Give one of the scores, (slides, seeds)."""
    return np.array([[one[key] for one in of_slide] for of_slide in scored])


def _paired(points: Mapping[str, Floats], redrawn: Mapping[str, Floats]) -> dict[str, Any] | None:
    """Compare pixnet with each method that it is not, and that is not the ceiling; slides stand for folds."""
    if "pixnet" not in points:
        return None
    main, against = points["pixnet"], {}
    for name, found in points.items():
        if name.partition(":")[0] not in ("pixnet", CEILING):
            of_slides = main.mean(axis=1) - found.mean(axis=1)
            ratio = float(main.mean() / found.mean()) if found.mean() > 0 else math.nan
            test = paired_test(float(of_slides.mean()), redrawn["pixnet"] - redrawn[name], of_slides)
            against[name] = {"ratio": ratio, **test}
    return {"method": "pixnet", "against": against}


def _over(mean: Mapping[str, float], redrawn: Mapping[str, Floats], above: str, below: str) -> dict[str, Any]:
    """Divide two scores; NaN where the one below is not positive."""
    if not mean[below] > 0:
        return {"value": math.nan, "interval": [math.nan, math.nan]}
    ratios = np.divide(redrawn[above], redrawn[below], out=np.full_like(redrawn[above], np.nan),
                       where=redrawn[below] > 0)  # fmt: skip
    value = mean[above] / mean[below]
    return {"value": value, "interval": list(interval(ratios, value))}
