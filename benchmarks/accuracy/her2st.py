"""Every method on Her2ST, each section held out in turn: `python -m benchmarks.accuracy.her2st`.

Tables are written from `benchmarks/results`; runs that are missing there are computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.accuracy.merging import MergedPlan
from benchmarks.accuracy.pages import typed, write_protocol_page
from benchmarks.accuracy.protocol_plan import ProtocolPlan, predictions_entry
from benchmarks.accuracy.results import FOLDER, Results
from pixnet.cli.progress import Progress
from pixnet.errors import PixNetError
from pixnet.evaluation.methods import Options
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runs import RunStore

PROTOCOL = Path(__file__).with_name("her2st.protocol.json")
PREDICTIONS = "her2st-predictions.npz"


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.her2st", description=__doc__)
    parser.add_argument("--protocol", type=Path, default=PROTOCOL)
    parser.add_argument("--results", type=Path, default=FOLDER, metavar="DIR", help="the two tables of all results")
    parser.add_argument("--runs", type=Path, default=Path("out/runs"), metavar="DIR", help="for runs being computed")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark-her2st"), metavar="DIR", help="for the pages")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--command", help="command to be named in the pages, in place of this one")
    parser.add_argument("--keep-predictions", action="store_true", help="write the file of predictions of all runs")
    options = parser.parse_args()
    results, store = Results(options.results), RunStore(options.runs)
    with Progress() as progress:
        own = Options(options.device, options.runs / "features", progress)
        earlier = options.results / PREDICTIONS
        plan = ProtocolPlan("her2st", {"": Protocol.read(options.protocol)}, store, own, earlier)
        scores = results.complete(plan)
        merged = results.complete(MergedPlan(plan))
        if options.keep_predictions:
            write_predictions(plan, earlier)
    page = write_protocol_page(
        options.out, "Her2ST", plan, results.facts(plan), scores, merged, typed(options.command, "her2st")
    )
    print(page.read_text(encoding="utf-8"))


def write_predictions(plan: ProtocolPlan, path: Path) -> None:
    """Write the predictions of all runs, log-normalised values as float16."""
    tables = {}
    for _, run in plan.runs:
        values = plan.values(run)
        tables[predictions_entry(run)] = np.concatenate(list(values.values())).astype(np.float16)
    partial = path.with_name(f"{path.stem}.part.npz")
    np.savez_compressed(partial, **tables)
    partial.replace(path)


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
