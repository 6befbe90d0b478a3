from __future__ import annotations

from pathlib import Path

from pixnet.features.store import PreparedView
from pixnet.training.feature_costs import record_cost, total_costs


def test_what_a_run_made_stays_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    record_cost(first, PreparedView("a", 2.0, made=True))
    record_cost(first, PreparedView("b", 3.0, made=False))
    for path in (first, second):  # a resumed training, in the same folder and in another
        record_cost(path, PreparedView("a", 2.0, made=False))
    record_cost(second, PreparedView("b", 3.0, made=False))
    assert total_costs([first, second]) == total_costs([second, first]) == {"made": 2.0, "found": 3.0}


def test_what_is_not_known_is_not_taken_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    record_cost(path, PreparedView("a", None, made=False))
    record_cost(path, PreparedView("b", 1.0, made=True))
    assert total_costs([path]) == {"made": 1.0, "found": None}
    assert total_costs([]) == {"made": 0.0, "found": 0.0}
