"""Folds inside the training samples, by which a baseline chooses what it does not learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixnet.expression import correlation
from pixnet.sample.sample import donor_groups

if TYPE_CHECKING:
    from pixnet.evaluation.baselines.base import TrainingRows

Mask = NDArray[np.bool_]


def inner_folds(rows: TrainingRows) -> NDArray[np.int64]:
    """Give the fold of each training region, (n,).

    It is the region's donor; its sample, where all are of one donor; a quarter of the tissue, where there is but one
    sample. See `donor_groups`.
    """
    present, number = np.unique(rows.owner, return_inverse=True)
    if len(present) < 2:
        return quarters(rows.centers_um)
    return donor_groups([rows.donors[sample] for sample in present])[number]


def inner_scores(rows: TrainingRows, guesses: Callable[[Mask], Iterable[NDArray[np.floating]]]) -> NDArray[np.float64]:
    """Score every choice on training regions that were left out, one fold after the other.

    Parameters
    ----------
    rows
        Training regions.
    guesses
        Given which of the regions are left out, fits to the others and gives the (k, g) values predicted for those
        left out, once for each choice, in a fixed order.

    Returns
    -------
    array
        (choices,) mean correlation over genes (PCC@M), averaged over folds.
    """
    fold = inner_folds(rows)
    parts = np.unique(fold)
    scores = np.zeros(1)
    for part in parts:
        left_out = fold == part
        found = [correlation(rows.values[left_out], guess).mean() / len(parts) for guess in guesses(left_out)]
        scores = scores + np.array(found)
    return scores


def quarters(centers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut points (n, 2) into four spatial blocks of equal numbers: left and right, then each into top and bottom."""
    block = np.zeros(len(centers), np.int64)
    for side, half in enumerate(np.array_split(np.argsort(centers[:, 0], kind="stable"), 2)):
        lower = np.array_split(half[np.argsort(centers[half, 1], kind="stable")], 2)
        for end, rows in enumerate(lower):
            block[rows] = 2 * side + end
    return block
