"""The former place of `evaluate` and `run`, which are in `pixnet.evaluation` now."""

from __future__ import annotations

from pixnet.evaluation.runner import evaluate as evaluate
from pixnet.evaluation.runner import run as run
