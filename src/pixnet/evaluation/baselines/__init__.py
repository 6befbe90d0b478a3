"""Baselines that any method should beat: fair and tuned versions of published methods, behind one interface.

To add one, write a subclass of `Baseline` in a module of this package and import it below. Its sources, and what
differs from them, belong in its docstring and in the documentation of the baselines.
"""

from __future__ import annotations

from pixnet.evaluation.baselines.base import Baseline as Baseline

# One line for each baseline, in the order in which messages and tables list them.
# isort: off
from pixnet.evaluation.baselines.ridge import RidgeBaseline as RidgeBaseline
from pixnet.evaluation.baselines.ridge import MeanBaseline as MeanBaseline
from pixnet.evaluation.baselines.ridge import ColourRidgeBaseline as ColourRidgeBaseline
from pixnet.evaluation.baselines.ridge import HestRidgeBaseline as HestRidgeBaseline
from pixnet.evaluation.baselines.knn import KnnBaseline as KnnBaseline
from pixnet.evaluation.baselines.st_net import StNetBaseline as StNetBaseline
from pixnet.evaluation.baselines.istar import IstarBaseline as IstarBaseline
# isort: on

BASELINES = {
    value.name: value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, Baseline) and value is not Baseline
}
"""The class of each baseline by its name on the command line."""
