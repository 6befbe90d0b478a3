"""A few runs of both benchmarks computed from nothing and compared with the tables: `make benchmark-repeat`.

On the machine that computed the tables, with the same libraries, scores must be equal bit for bit. Elsewhere PCC@M may
differ by 0.02.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.accuracy.her2st import PROTOCOL
from benchmarks.accuracy.protocol_plan import ProtocolPlan
from benchmarks.accuracy.results import FOLDER, Plan, Results
from benchmarks.accuracy.scales_plan import ScalesPlan
from pixnet.cli.progress import Progress
from pixnet.config import Config
from pixnet.demo.regions import ScaleSettings
from pixnet.errors import DataError, PixNetError
from pixnet.evaluation.methods import METHODS, Options, check_methods
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runs import Run, RunStore
from pixnet.scoring.table import KEYS

FOLD, SEED = "C3", 0
CHEAP = ("mean", "colour-ridge", "ridge", "knn")
"""Methods that are compared on virtual tissue too."""

TOLERANCE = 0.02


def main() -> None:
    """Run the command line; exit with 1 if a method differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.repeat", description=__doc__)
    parser.add_argument("--methods", default=",".join(METHODS), metavar="A,B")
    parser.add_argument("--results", type=Path, default=FOLDER, metavar="DIR", help="folder of the two tables")
    arguments = parser.parse_args()
    methods, results = check_methods(arguments.methods.split(",")), Results(arguments.results)
    agree = True
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        store, options = RunStore(Path(folder)), Options("cpu", Path(folder) / "features", progress)
        for plan in _plans(methods, store, options):
            for _, run in plan.runs:
                words, agrees = compare(results, run, *plan.score("", run))
                print(f"{plan.name}, {run.title}: {words}", flush=True)
                agree &= agrees
    sys.exit(0 if agree else 1)


def compare(results: Results, run: Run, rows: pd.DataFrame, facts: Mapping[str, Any]) -> tuple[str, bool]:
    """Compare the scores of a run with the tables.

    Parameters
    ----------
    results
        The tables.
    run
        The run.
    rows, facts
        Its new scores and facts, from `Plan.score`.

    Returns
    -------
    words, agrees
        The comparison in words, and whether the scores agree.

    Raises
    ------
    DataError
        If the tables lack the run.
    """
    known = results.runs[results.runs["key"] == run.key]
    if not len(known):
        raise DataError(f"{results.folder}: lacks the run {run.title!r}; run make benchmark-her2st benchmark-virtual.")
    stored = results.scores[results.scores["key"] == run.key]
    pairs = stored.merge(rows, on=list(KEYS), how="outer", suffixes=("", "_new"))
    columns = ["value", "low", "high"]
    old, new = pairs[columns].to_numpy(), pairs[[f"{name}_new" for name in columns]].to_numpy()
    if not len(pairs) == len(stored) == len(rows):
        return f"{len(rows)} scores where the table has {len(stored)}, not all of the same kind", False
    if np.array_equal(old, new, equal_nan=True):
        return f"equal bit for bit, {len(pairs)} scores", True
    main = pairs[pairs["metric"] == "pcc_m"]
    apart = float((main["value"] - main["value_new"]).abs().max(skipna=False))
    same = computed_on(known.iloc[0]) == computed_on(facts)
    words = f"PCC@M differs by up to {apart:.2g}" + (" on the same kind of machine" if same else "")
    return words, not same and apart <= TOLERANCE


def computed_on(facts: Mapping[str, Any]) -> list[Any]:
    """Return the facts of a run that the last digits of its scores may depend on."""
    versions = facts["environment"]
    versions = dict(json.loads(versions) if isinstance(versions, str) else versions)
    return [
        facts["machine"], int(facts["threads"]), facts["device"],
        sorted((name, version) for name, version in versions.items() if name not in ("pixnet", "commit")),
    ]  # fmt: skip


def _plans(methods: Sequence[str], store: RunStore, options: Options) -> list[Plan]:
    """Return one fold of Her2ST with one seed, and one virtual tissue with the cheap methods."""
    protocol = Protocol.read(PROTOCOL)
    changed = {
        "folds": tuple(fold for fold in protocol.folds if fold.name == FOLD),
        "seeds": (SEED,),
        "methods": {name: protocol.methods[name] for name in methods},
    }
    plans: list[Plan] = [ProtocolPlan("her2st", {"": protocol.model_copy(update=changed)}, store, options)]
    cheap = [name for name in CHEAP if name in methods]
    if cheap:
        plans.append(ScalesPlan(ScaleSettings("breast", (100.0,)), {"": Config()}, cheap, [SEED], store, options))
    return plans


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
