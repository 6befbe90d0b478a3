"""The results of all benchmarks of accuracy, as two small tables: what each run was, and every score.

Everything that is published is made from these tables. A run that is missing from them is computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from pixnet.evaluation.runs import Run, RunStore
from pixnet.files import replacing
from pixnet.scoring.table import COLUMNS, Scores

FOLDER = Path(__file__).parents[1] / "results"
SUMMARY = "summary"
"""Method in the tables of scores that need several runs: averages, intervals, paired tests."""

_FACTS = ("seconds", "peak_rss_mb", "threads", "device", "machine")
_JSON = ("chosen", "features", "environment", "settings")
_RUN_COLUMNS = ("benchmark", "key", "method", "variant", "fold", "seed", "version", *_FACTS, *_JSON)
_SCORE_COLUMNS = ("benchmark", "key", *COLUMNS)
_NUMBERS = ("seconds", "peak_rss_mb", "threads", "value", "low", "high")


class Plan(Protocol):
    """The runs of a benchmark, and how they are scored.

    Attributes
    ----------
    name
        Name of the benchmark.
    runs
        Variant of the method (usually "") and run.
    summary
        Names the scores that need all runs.
    store
        Where runs are stored while they are computed.
    """

    name: str
    runs: Sequence[tuple[str, Run]]
    summary: Run
    store: RunStore

    def score(self, variant: str, run: Run) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Fit, predict and score a run; return its rows of the long table, and the facts of the run."""
        ...

    def summarise(self) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """Return the rows that need several runs, and facts about them.

        Rows of a run that was scored again have its key in a column `key`, and replace all earlier ones.
        """
        ...


class Results:
    """`runs.parquet` and `scores.parquet` in a folder.

    Parameters
    ----------
    folder
        The folder; it is created when something is written.

    Attributes
    ----------
    runs
        A row for each run: its settings, choices, cost and machine.
    scores
        The long table (`pixnet.scoring.table`), with the benchmark and the key of the run as first columns.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = Path(folder)
        self.runs = self._read("runs", _RUN_COLUMNS)
        self.scores = self._read("scores", _SCORE_COLUMNS)

    def complete(self, plan: Plan, rescore: bool = False) -> Scores:
        """Return all scores of a benchmark; missing runs are computed first, and each is written when it is done.

        `rescore` computes the scores of all runs again from their predictions.
        """
        missing = self.missing(plan)
        if rescore and all(run is not plan.summary for _, run in missing):
            missing.append(("", plan.summary))
        if missing:
            with plan.store.locked():
                for variant, run in missing:
                    done = plan.summarise() if run is plan.summary else plan.score(variant, run)
                    self._add(plan.name, variant, run, *done)
        return self.of(plan)

    def missing(self, plan: Plan) -> list[tuple[str, Run]]:
        """Return the runs of a benchmark that either table lacks; the summary, if it is missing, is the last."""
        known, missing = set(self.runs["key"]) & set(self.scores["key"]), {}
        for variant, run in (*plan.runs, ("", plan.summary)):
            if run.key not in known:
                missing.setdefault(run.key, (variant, run))  # a variant may have the settings of another
        return list(missing.values())

    def of(self, plan: Plan) -> Scores:
        """Return the scores of a benchmark's runs, in their order, and then those of all together."""
        keys = list(dict.fromkeys([*(run.key for _, run in plan.runs), plan.summary.key]))
        own = self.scores[self.scores["key"].isin(keys)]
        return Scores(own.sort_values("key", kind="stable", key=lambda key: key.map(keys.index), ignore_index=True))

    def facts(self, plan: Plan) -> dict[str, list[dict[str, Any]]]:
        """Return the facts of a benchmark's runs, by method (or `pixnet:NAME` of a variant)."""
        facts: dict[str, list[dict[str, Any]]] = {}
        rows = self.runs.set_index("key").to_dict("index")
        for variant, run in plan.runs:
            row = rows[run.key]
            of_run = {**row, **{name: json.loads(row[name]) for name in _JSON}, "threads": int(row["threads"])}
            facts.setdefault(f"{run.method}:{variant}" if variant else run.method, []).append(of_run)
        return facts

    def write(self) -> None:
        """Write both tables, each complete or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, table, order in (("runs", self.runs, _RUN_COLUMNS), ("scores", self.scores, _SCORE_COLUMNS)):
            with replacing(self.folder / f"{name}.parquet") as partial:
                table[list(order)].to_parquet(partial, index=False, compression="zstd")

    def _read(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        if path.exists():
            return pd.read_parquet(path)
        table = pd.DataFrame(columns=list(columns), dtype=object)
        # The long table holds the seed as text, since it may be `all`.
        numbers = dict.fromkeys(_NUMBERS, "float64") | ({"seed": "int64"} if name == "runs" else {})
        return table.astype({column: kind for column, kind in numbers.items() if column in columns})

    def _add(self, benchmark: str, variant: str, run: Run, rows: pd.DataFrame, facts: Mapping[str, Any]) -> None:
        row = {
            "benchmark": benchmark,
            "key": run.key,
            "method": run.method,
            "variant": variant,
            "fold": run.fold,
            "seed": run.seed,
            "version": _version(run),
            **{name: facts.get(name) for name in _FACTS},
            **{name: json.dumps(facts.get(name, {}), sort_keys=True) for name in _JSON},
        }
        replaced = {run.key, *self._replaced(benchmark, variant, run)}
        added = rows if "key" in rows else rows.assign(key=run.key)
        added = added.assign(benchmark=benchmark)[list(_SCORE_COLUMNS)]
        self.runs = _joined(self.runs[~self.runs["key"].isin(replaced)], pd.DataFrame([row]))
        self.scores = _joined(self.scores[~self.scores["key"].isin(replaced | set(added["key"]))], added)
        self.write()

    def _replaced(self, benchmark: str, variant: str, run: Run) -> list[str]:
        """Return the keys of the earlier rows of a run, and of the summaries they were part of.

        A summary of other methods or seeds is not replaced: it would take long to compute again.
        """
        table = self.runs[self.runs["benchmark"] == benchmark]
        columns = ["method", "variant", "fold", "seed"]
        old = (table[columns] == [run.method, variant, run.fold, run.seed]).all(axis=1) & (table["key"] != run.key)
        if run.method.startswith(SUMMARY):
            old &= table["version"] != _version(run)
        elif old.any():
            old |= table["method"].str.startswith(SUMMARY)
        return list(table.loc[old, "key"])


def _version(run: Run) -> str:
    return str(run.depends_on.get("version", ""))


def _joined(table: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    more = more[list(table.columns)].astype(table.dtypes.to_dict())  # also of a column without any value
    return pd.concat([table, more], ignore_index=True) if len(table) else more.reset_index(drop=True)
