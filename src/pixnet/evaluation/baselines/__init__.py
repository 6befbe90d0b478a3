"""Opponents that any method should beat, each a fair and tuned one made from published facts, with one interface.

Everything that a baseline learns or chooses (penalties, neighbours, epochs) comes from the training samples alone,
by folds inside them. The sources, and what differs from them, are in `docs/baselines.md`.
"""

from __future__ import annotations

from pixnet.evaluation.baselines.colour_ridge import ColourRidgeBaseline
from pixnet.evaluation.baselines.hest_ridge import HestRidgeBaseline
from pixnet.evaluation.baselines.interface import Baseline
from pixnet.evaluation.baselines.istar import IstarBaseline
from pixnet.evaluation.baselines.knn import KnnBaseline
from pixnet.evaluation.baselines.mean import MeanBaseline
from pixnet.evaluation.baselines.ridge import RidgeBaseline
from pixnet.evaluation.baselines.st_net import StNetBaseline

__all__ = [
    "Baseline",
    "MeanBaseline",
    "ColourRidgeBaseline",
    "RidgeBaseline",
    "HestRidgeBaseline",
    "KnnBaseline",
    "StNetBaseline",
    "IstarBaseline",
]
