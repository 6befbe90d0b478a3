"""Scores across scales: correlation with the truth and with counts, for every size, against the ceiling."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.demo.regions import SIDES, points_of
from pixnet.demo.targets import KINDS, TARGETS, Targets
from pixnet.evaluation.held_out import Floats
from pixnet.evaluation.summary import comparison_rows
from pixnet.scoring.bootstrap import Scored, interval, redrawn_scores
from pixnet.scoring.metrics import score
from pixnet.scoring.table import rows

CEILING = "ceiling"
METRICS = ("pcc_m", "pcc_s", "pcc_f", "mse")

NOT_CROPS = ("pixnet", "istar", "mean")
"""Methods that do not predict a region from the crop around its centre."""


@dataclass(frozen=True)
class ScoredSlide:
    """A slide with its targets and predictions."""

    name: str
    side: str  # group of slides that it is averaged with
    donor: str
    targets: Targets
    # By method (or `pixnet:NAME` of a variant), then by seed, the arrays of that run.
    predictions: Mapping[str, Mapping[int, Mapping[str, NDArray[np.float32]]]]


def is_crop_method(method: str) -> bool:
    """Return whether a method predicts a region from the crop round its centre."""
    return method.partition(":")[0] not in (*NOT_CROPS, CEILING)


def is_opponent(method: str) -> bool:
    """Return whether a method is one that PixNet is compared with."""
    return method.partition(":")[0] not in ("pixnet", CEILING)


Groups = Mapping[str, Callable[[str], bool]]
"""Groups of methods by name: whether a method belongs to it."""

BEST_CROP: Groups = {"best crop": is_crop_method}
BEST_OPPONENT: Groups = {"best opponent": is_opponent}


def scale_scores(slides: Sequence[ScoredSlide], seed: int = 0, best: Groups = BEST_CROP) -> pd.DataFrame:
    """Score every method for every group of slides, size of regions, target and kind of value.

    PCC@M of a slide is the mean over genes of the correlation over its regions. It is averaged over the slides of a
    group, so that differences between slides (capture, donor) play no part, and over seeds. `seed` is that of the
    intervals. `best` names groups of methods; every method is divided by the one of them that does best there.

    Returns
    -------
    DataFrame
        The long table: `fold` is the group of slides, `sample` the slide, `regions` their size, `target` such as `truth
        counts` or `measured log`. Averages have intervals over redrawn blocks of each slide, and `places`, `sd of
        pcc_m`, `share` of the ceiling, `ratio vs NAME` for each group of `best`, and for pixnet the comparisons with
        each other method. Slides that were trained on have no share: their counts show what the image
        does not, so the ceiling is not a bound.
    """
    parts = []
    for side in dict.fromkeys(slide.side for slide in slides):
        group = [slide for slide in slides if slide.side == side]
        for target in TARGETS:
            for kind in KINDS:
                for name in group[0].targets.names:
                    scored = [_scored(slide, name, target, kind) for slide in group]
                    where = {"fold": side, "regions": name, "target": f"{target} {kind}"}
                    parts += _of_regions(group, scored, seed, best, where)
    return pd.concat(parts, ignore_index=True)


def _scored(slide: ScoredSlide, name: str, target: str, kind: str) -> Scored:
    targets, points = slide.targets, points_of(name)
    predicted: dict[str, list[NDArray[np.float32]]] = {
        method: [targets.predicted(arrays, name, points, target, kind) for arrays in by_seed.values()]
        for method, by_seed in slide.predictions.items()
    }
    predicted[CEILING] = [targets.best(name, target, kind)]
    observed, centers = targets.observed(name, target, kind), targets.centers_um(name)
    return Scored(observed, predicted, centers, np.zeros(len(centers), np.int64), [slide.donor])


def _of_regions(
    group: Sequence[ScoredSlide], scored: Sequence[Scored], seed: int, best: Groups,
    where: Mapping[str, str],
) -> list[pd.DataFrame]:  # fmt: skip
    """Return the rows of all methods for one size of regions, target and kind."""
    draws = {method: redrawn["pcc_m"] for method, redrawn in redrawn_scores(scored, seed=seed).items()}
    parts = []
    of_slides = {}
    for method in scored[0].predicted:
        keys = {**where, **_method_keys(method)}
        seeds = list(group[0].predictions.get(method, {0: {}}))
        runs = [[score(part.truth, table) for table in part.predicted[method]] for part in scored]
        for slide, of_slide in zip(group, runs, strict=True):
            for number, result in zip(seeds, of_slide, strict=True):
                parts.append(rows({"pcc_m": result["pcc_m"]}, **keys, sample=slide.name, seed=str(number)))
        table = {key: np.array([[dict(result)[key] for result in of_slide] for of_slide in runs]) for key in METRICS}
        of_slides[method] = table["pcc_m"].mean(axis=1)
        mean = float(table["pcc_m"].mean())
        values = {key: float(scores.mean()) for key, scores in table.items()}
        of_seeds = table["pcc_m"].mean(axis=0)
        spread = float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else math.nan
        parts.append(rows({**values, "pcc_m": (mean, *interval(draws[method], mean)), "sd of pcc_m": spread}, **keys))
        parts += [
            rows({"pcc_m": float(mean_of_slide)}, **keys, sample=slide.name)
            for slide, mean_of_slide in zip(group, of_slides[method], strict=True)
        ]
    places = sum(len(part.truth) for part in scored)
    parts.append(rows({"places": places}, method=CEILING, **where))
    return parts + _ratios(of_slides, draws, best, where)


def _ratios(
    of_slides: Mapping[str, Floats], draws: Mapping[str, Floats], best: Groups,
    where: Mapping[str, str],
) -> list[pd.DataFrame]:  # fmt: skip
    """Return shares of the ceiling, ratios to the best of each group of methods, and the comparisons of pixnet."""
    mean = {method: float(scores.mean()) for method, scores in of_slides.items()}
    groups = {name: [method for method in mean if belongs(method)] for name, belongs in best.items()}
    leaders = {name: max(group, key=lambda method: mean[method]) for name, group in groups.items() if group}
    parts = []
    for method in mean:
        values = {}
        if where["fold"] != SIDES[0]:
            values["share"] = _over(mean, draws, method, CEILING)
        for name, leader in leaders.items():
            values[f"ratio vs {name}"] = _over(mean, draws, method, leader)
        if values:
            parts.append(rows(values, **where, **_method_keys(method)))
    for other in mean if "pixnet" in mean else ():
        if other != CEILING and not other.startswith("pixnet"):
            means = mean["pixnet"], mean[other]
            of_draws = draws["pixnet"] - draws[other]
            over_slides = of_slides["pixnet"] - of_slides[other]
            parts.append(comparison_rows(other, means, of_draws, over_slides, method="pixnet", **where))
    return parts


def _over(mean: Mapping[str, float], draws: Mapping[str, Floats], above: str, below: str) -> tuple[float, float, float]:
    """Divide two scores, with the interval from the same draws; NaN where the one below is not positive."""
    if not mean[below] > 0:
        return math.nan, math.nan, math.nan
    ratios = np.full_like(draws[above], np.nan)
    np.divide(draws[above], draws[below], out=ratios, where=draws[below] > 0)
    value = mean[above] / mean[below]
    return value, *interval(ratios, value)


def _method_keys(method: str) -> dict[str, str]:
    """Return the keys of a method, or of `pixnet:NAME`, a variant."""
    name, _, variant = method.partition(":")
    return {"method": name, "variant": variant}
