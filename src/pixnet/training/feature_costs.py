"""What the kept features of a run took to make, noted so that a kill does not lose it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pixnet.files import write_whole

COSTS = "feature-costs.json"


class Prepared(NamedTuple):
    """The features of one view.

    Attributes
    ----------
    key
        Name of their folder.
    seconds
        Time that making them took, whoever made them; None: not known.
    made
        Whether they were made now; else they were found ready.
    """

    key: str
    seconds: float | None
    made: bool


def note_cost(path: Path, prepared: Prepared) -> None:
    """Add a view to the notes of a run; what the run made it did not find, though it finds it in a later sitting."""
    noted = _read(path)
    made = prepared.made or noted.get(prepared.key, {}).get("made", False)
    noted[prepared.key] = {"seconds": prepared.seconds, "made": made}
    write_whole(path, json.dumps(noted))


def total_costs(paths: Iterable[Path]) -> dict[str, float | None]:
    """Add up the notes of one run's folders.

    Returns
    -------
    dict
        `made` and `found`: seconds that the run's own features and those that it found ready took to make. None: not
        known of some.
    """
    views: dict[str, dict[str, Any]] = {}
    for path in paths:
        for key, one in _read(path).items():
            views[key] = {**one, "made": one["made"] or views.get(key, {}).get("made", False)}
    return {name: _sum(one["seconds"] for one in views.values() if one["made"] == made)
            for name, made in (("made", True), ("found", False))}  # fmt: skip


def _sum(parts: Iterable[float | None]) -> float | None:
    total = 0.0
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _read(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
