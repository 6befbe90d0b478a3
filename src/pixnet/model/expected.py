"""The score that a model is expected to reach on a new sample, from its training samples alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pixnet.errors import DataError
from pixnet.scoring.bootstrap import Scored, interval, intervals
from pixnet.scoring.metrics import score

if TYPE_CHECKING:
    from pixnet.config import Config
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.training.fit import FitOptions
    from pixnet.training.left_out import LeftOut

_METHOD = "pixnet"
_FEWEST_REGIONS = 8  # of a sample that is scored


def expected_score(samples: Sequence[Sample], panel: GenePanel, config: Config, options: FitOptions) -> dict[str, Any]:
    """Leave donors (for the target `same-donor`, samples) out in turn, train on the others, and score.

    Each sample is scored by itself, as a new slide would be: PCC@M over its regions, then the mean over samples. The
    genes are those of the model, which were chosen on all samples; all else is done anew without those left out.

    Returns
    -------
    dict
        `pcc_m`, `low` and `high`: the score and its 95 % interval (None if there is none), over redrawn donors where
        there are three or more, otherwise over redrawn blocks of the slides (`interval_over`); how many donors or
        samples were `left_out`, in how many `folds`; `linear_share`, the best share of the linear path. Or `unknown`:
        why there is no score, and whether the reason is that there is `one_donor`.
    """
    from pixnet.training.left_out import left_out_folds, predict_left_out

    by_sample = config.target == "same-donor"
    folds = left_out_folds(samples, by_sample)
    if not folds:
        what = "there is one sample" if len(samples) == 1 else "all samples are of one donor"
        return {"unknown": f"{what}, so nothing is known of how well the model predicts others", "one_donor": True}
    try:
        parts = predict_left_out(samples, folds, panel, config.network, config.training, options)
    except DataError as error:
        reason = f"some trainings without a part of the samples failed: {str(error).rstrip('.')}"
        return {"unknown": reason, "one_donor": False}
    parts = [part for part in parts if _scored(part, 0.0)]
    if not parts:
        return {"unknown": "no sample that was left out has enough regions and genes to be scored", "one_donor": False}
    # The share for a fold is chosen on the others, so that the score is that of a sample which nothing was chosen on.
    chosen = {fold: _best_share([part for part in parts if part.fold != fold]) for fold in range(len(folds))}
    scored = [found for part in parts if (found := _scored(part, chosen[part.fold]))]
    pcc_m = float(np.mean([score(part.truth, part.predicted[_METHOD][0])["pcc_m"] for part in scored]))
    over_blocks, over_donors = intervals(scored)
    ends = interval((over_donors or over_blocks)[_METHOD]["pcc_m"], pcc_m)
    low, high = (end if math.isfinite(end) else None for end in ends)
    donors = {number if by_sample or s.donor is None else s.donor for number, s in enumerate(samples)}
    return {
        "pcc_m": pcc_m,
        "low": low,
        "high": high,
        "interval_over": "donors" if over_donors else "blocks of the slides",
        "left_out": len(donors),
        "folds": len(folds),
        "linear_share": _best_share(parts),
    }


def _best_share(parts: Sequence[LeftOut]) -> float:
    """Return the share of the linear path with the highest mean PCC@M over samples that were left out."""
    from pixnet.training.linear_path import DEFAULT_SHARE

    if not parts:
        return DEFAULT_SHARE
    scores = {}
    for share in parts[0].predicted:
        scored = [found for part in parts if (found := _scored(part, share))]
        scores[share] = np.mean([score(part.truth, part.predicted[_METHOD][0])["pcc_m"] for part in scored])
    return max(scores, key=lambda share: scores[share])


def _scored(part: LeftOut, share: float) -> Scored | None:
    """Return what was predicted for a sample with this share of the linear path, for the genes that vary in it.

    None if there is too little to score.
    """
    truth, predicted = part.observed, part.predicted[share]
    finite = np.isfinite(truth).all(axis=0) & np.isfinite(predicted).all(axis=0)
    usable = np.flatnonzero(finite & (np.ptp(np.nan_to_num(truth), axis=0) > 0))
    if len(truth) < _FEWEST_REGIONS or not len(usable):
        return None
    values = {_METHOD: [predicted[:, usable]]}
    owner = np.zeros(len(truth), np.int64)
    return Scored(truth[:, usable], values, part.centers_um, owner, [part.sample.donor])
