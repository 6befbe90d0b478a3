"""Time that the cached features of a training took to compute, on record so that a kill does not lose it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixnet.files import read_note, write_note

if TYPE_CHECKING:
    from pixnet.features.store import PreparedView

COSTS = "feature-costs.json"
LEFT_OUT = "left-out-"
"""Beginning of the names of the folders, in that of a training, of trainings without some samples."""


def record_cost(path: Path, view: PreparedView) -> None:
    """Add a view to the record of a training.

    A view that the training computed still counts as computed when it finds it in the cache after being resumed.
    """
    record = _read(path)
    made = view.made or record.get(view.key, {}).get("made", False)
    record[view.key] = {"seconds": view.seconds, "made": made}
    write_note(path, record)


def total_costs(paths: Iterable[Path]) -> dict[str, float | None]:
    """Add up one run's records: seconds for the features that it `made`, and for those that it `found` in the cache.

    A sum is None where the time of some view is not known.
    """
    views: dict[str, dict[str, Any]] = {}
    for path in paths:
        for key, facts in _read(path).items():
            views[key] = {**facts, "made": facts["made"] or views.get(key, {}).get("made", False)}
    return {
        "made": _sum(facts["seconds"] for facts in views.values() if facts["made"]),
        "found": _sum(facts["seconds"] for facts in views.values() if not facts["made"]),
    }


def _sum(seconds: Iterable[float | None]) -> float | None:
    """Return the sum, or None if a part is not known."""
    total = 0.0
    for part in seconds:
        if part is None:
            return None
        total += part
    return total


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return read_note(path) or {}
