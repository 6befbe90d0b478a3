"""The results of all benchmarks of accuracy, as two small tables: what each run was, and every score.

Everything that is published is made from these tables. A run that is missing from them is computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from pixnet.evaluation.runs import Run
from pixnet.evaluation.scoring.table import COLUMNS, Scores

FOLDER = Path(__file__).parents[1] / "results"
SUMMARY = "summary"
"""Stands as the method of the scores that need several runs: averages, intervals, paired tests."""

_FACTS = ("seconds", "peak_rss_mb", "threads", "device", "machine")
_JSON = ("chosen", "features", "environment", "settings")
_RUN_COLUMNS = ("benchmark", "key", "method", "variant", "fold", "seed", "version", *_FACTS, *_JSON)
_SCORE_COLUMNS = ("benchmark", "key", *COLUMNS)


class Plan(Protocol):
    """What a benchmark consists of.

    Attributes
    ----------
    name
        Name of the benchmark.
    runs
        Its runs, by the name of the variant of the method (usually "").
    summary
        Stands for the scores that need all of them.
    """

    name: str
    runs: Sequence[tuple[str, Run]]
    summary: Run

    def score(self, variant: str, run: Run) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Fit, predict and score a run; return its rows of the long table, and what it chose and cost."""
        ...

    def summarise(self) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Return the rows that need several runs, and facts of this step."""
        ...


class Results:
    """`runs.parquet` and `scores.parquet` in a folder.

    Parameters
    ----------
    folder
        The folder; it is made when something is written.

    Attributes
    ----------
    runs
        A row for each run: what it was, chose and cost, and where it ran.
    scores
        The long table (`pixnet.evaluation.scoring.table`), with the benchmark and the key of the run before it.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = Path(folder)
        self.runs = self._read("runs", _RUN_COLUMNS)
        self.scores = self._read("scores", _SCORE_COLUMNS)

    def complete(self, plan: Plan) -> Scores:
        """Return all scores of a benchmark; runs that are missing are computed, and written one by one."""
        for variant, run in plan.runs:
            if not self.has(run):
                self._add(plan.name, variant, run, *plan.score(variant, run))
        if not self.has(plan.summary):
            self._add(plan.name, "", plan.summary, *plan.summarise())
        return self.of(plan)

    def has(self, run: Run) -> bool:
        """Return whether both tables hold a run."""
        return run.key in set(self.runs["key"]) and run.key in set(self.scores["key"])

    def of(self, plan: Plan) -> Scores:
        """Return the scores of a benchmark's runs."""
        keys = {run.key for _, run in plan.runs} | {plan.summary.key}
        return Scores(self.scores[self.scores["key"].isin(keys)].reset_index(drop=True))

    def facts(self, plan: Plan) -> dict[str, list[dict[str, Any]]]:
        """Return what is known of a benchmark's runs, by method (or `pixnet:NAME` of a variant)."""
        found: dict[str, list[dict[str, Any]]] = {}
        rows = self.runs.set_index("key").to_dict("index")
        for variant, run in plan.runs:
            row = rows[run.key]
            facts = {**row, **{name: json.loads(row[name]) for name in _JSON}, "threads": int(row["threads"])}
            found.setdefault(f"{run.method}:{variant}" if variant else run.method, []).append(facts)
        return found

    def write(self) -> None:
        """Write both tables, each complete or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, table, order in (("runs", self.runs, _RUN_COLUMNS), ("scores", self.scores, _SCORE_COLUMNS)):
            partial = self.folder / f"{name}.parquet.part"
            table[list(order)].to_parquet(partial, index=False, compression="zstd")
            partial.replace(self.folder / f"{name}.parquet")

    def _read(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=list(columns))

    def _add(self, benchmark: str, variant: str, run: Run, rows: pd.DataFrame, facts: Mapping[str, Any]) -> None:
        row = {
            "benchmark": benchmark,
            "key": run.key,
            "method": run.method,
            "variant": variant,
            "fold": run.fold,
            "seed": run.seed,
            "version": str(run.depends_on.get("version", "")),
            **{name: facts.get(name) for name in _FACTS},
            **{name: json.dumps(facts.get(name, {}), sort_keys=True) for name in _JSON},
        }
        # Rows of the same run with an older key would only confuse.
        old = self.runs[(self.runs[["benchmark", "method", "variant", "fold", "seed"]]
                         == [benchmark, run.method, variant, run.fold, run.seed]).all(axis=1)]["key"]  # fmt: skip
        gone = {run.key, *old}
        added = rows.assign(benchmark=benchmark, key=run.key)[list(_SCORE_COLUMNS)]
        self.runs = _joined(self.runs[~self.runs["key"].isin(gone)], pd.DataFrame([row]))
        self.scores = _joined(self.scores[~self.scores["key"].isin(gone)], added)
        self.write()


def _joined(table: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    if not len(table):
        return more.reset_index(drop=True)
    # A column without any value would otherwise lose its type.
    return pd.concat([table, more.astype(table.dtypes.to_dict())], ignore_index=True)
