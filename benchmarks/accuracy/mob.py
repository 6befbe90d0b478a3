"""Every method on the mouse olfactory bulb, each animal held out in turn: `python -m benchmarks.accuracy.mob`.

The table is written from `benchmarks/results`; only runs that are missing there are computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.accuracy.arguments import add_published, typed
from benchmarks.accuracy.her2st import absent_manifest
from benchmarks.accuracy.pages import write_protocol_page
from benchmarks.accuracy.protocol_plan import ProtocolPlan
from benchmarks.accuracy.results import Results
from pixnet.cli.progress import Progress
from pixnet.errors import PixNetError
from pixnet.evaluation.methods import Options
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runs import RunStore

PROTOCOL = Path(__file__).with_name("mob.protocol.json")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.mob", description=__doc__)
    parser.add_argument("--protocol", type=Path, default=PROTOCOL)
    add_published(parser, out="out/benchmark-mob")
    arguments = parser.parse_args()
    results, protocol = Results(arguments.results), Protocol.read(arguments.protocol)
    with Progress() as progress:
        options = Options(arguments.device, arguments.runs / "features", progress)
        plan = ProtocolPlan("mob", {"": protocol}, RunStore(arguments.runs), options)
        if lacking := absent_manifest(protocol, results, plan):
            print(lacking)
            return
        scores = results.complete(plan, arguments.rescore)
    command = typed(arguments.command, "mob")
    facts = results.facts(plan)
    print(write_protocol_page(arguments.out, "Mouse olfactory bulb", plan, facts, scores, command).read_text("utf-8"))


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
