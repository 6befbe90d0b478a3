"""Every method on Her2ST, each section held out in turn: `python -m benchmarks.accuracy.her2st`.

The tables are written from `benchmarks/results`; only runs that are missing there are computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.accuracy.arguments import add_published, typed
from benchmarks.accuracy.merging import MergedPlan
from benchmarks.accuracy.pages import write_protocol_page
from benchmarks.accuracy.protocol_plan import ProtocolPlan, predictions_entry
from benchmarks.accuracy.results import Plan, Results
from pixnet.cli.progress import Progress
from pixnet.errors import PixNetError
from pixnet.evaluation.methods import Options
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runs import RunStore
from pixnet.files import replacing

PROTOCOL = Path(__file__).with_name("her2st.protocol.json")
PREDICTIONS = "her2st-predictions.npz"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.her2st", description=__doc__)
    parser.add_argument("--protocol", type=Path, default=PROTOCOL)
    add_published(parser, out="out/benchmark-her2st")
    parser.add_argument("--keep-predictions", action="store_true", help="also write the predictions of all runs")
    arguments = parser.parse_args()
    results, protocol = Results(arguments.results), Protocol.read(arguments.protocol)
    predictions = arguments.results / PREDICTIONS
    with Progress() as progress:
        options = Options(arguments.device, arguments.runs / "features", progress)
        plan = ProtocolPlan("her2st", {"": protocol}, RunStore(arguments.runs), options, predictions)
        merged_plan = MergedPlan(plan)
        if lacking := absent_manifest(protocol, results, plan, merged_plan):
            print(lacking)
            return
        scores, merged = results.complete(plan, arguments.rescore), results.complete(merged_plan)
        if arguments.keep_predictions:
            write_predictions(plan, predictions)
    command = typed(arguments.command, "her2st")
    page = write_protocol_page(arguments.out, "Her2ST", plan, results.facts(plan), scores, command, merged)
    print(page.read_text(encoding="utf-8"))


def absent_manifest(protocol: Protocol, results: Results, *plans: Plan) -> str | None:
    """Return a sentence if runs are missing in the results and the data that they need is absent too."""
    missing = [run for plan in plans for run in results.missing(plan)]
    absent = [path for path in protocol.manifests if not Path(path).exists()]
    if not (absent and missing):
        return None
    count = f"{len(missing)} run{'s' * (len(missing) > 1)}"
    return f"skipped: {results.folder} lacks {count}, and {absent[0]}, which they need, does not exist."


def write_predictions(plan: ProtocolPlan, path: Path) -> None:
    """Write the predictions of all runs, log-normalised values as float16."""
    tables = {
        predictions_entry(run): np.concatenate(list(plan.values(run).values())).astype(np.float16)
        for _, run in plan.runs
    }
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **tables)


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
