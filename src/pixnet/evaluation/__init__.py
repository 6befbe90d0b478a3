"""Evaluation: protocols, runs, methods, scores and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pixnet.evaluation.protocol import Protocol as Protocol
    from pixnet.evaluation.report import write_report as write_report
    from pixnet.evaluation.runner import evaluate as evaluate
    from pixnet.evaluation.runner import run as run

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "runner": ["evaluate", "run"],
        "protocol": ["Protocol"],
        "report": ["write_report"],
    },
)
