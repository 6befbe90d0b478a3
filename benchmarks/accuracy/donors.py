"""Every method on shifted donors of virtual tissue, each left out in turn: `python -m benchmarks.accuracy.donors`.

The tables are written from `benchmarks/results`; only runs that are missing there are computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.accuracy.arguments import add_published, typed
from benchmarks.accuracy.donors_page import write_donors_page
from benchmarks.accuracy.donors_plan import DonorsPlan
from benchmarks.accuracy.results import Results
from pixnet.cli.progress import Progress
from pixnet.config import Config
from pixnet.errors import PixNetError
from pixnet.evaluation.methods import METHODS, Options
from pixnet.evaluation.runs import RunStore


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.donors", description=__doc__)
    parser.add_argument("--presets", default="breast,colon,cortex", metavar="A,B", help="virtual tissues")
    parser.add_argument("--methods", default=",".join(METHODS), metavar="A,B")
    parser.add_argument("--seeds", default="0", metavar="0,1,2")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings of pixnet")
    add_published(parser, out="out/benchmark-donors")
    arguments = parser.parse_args()
    methods, seeds = arguments.methods.split(","), [int(seed) for seed in arguments.seeds.split(",")]
    results, store, done = Results(arguments.results), RunStore(arguments.runs), []
    config = Config.read(arguments.config)
    with Progress() as progress:
        for preset in arguments.presets.split(","):
            options = Options(arguments.device, progress=progress)
            plan = DonorsPlan(preset, config, methods, seeds, store, options)
            scores = results.complete(plan)
            done.append((plan, results.facts(plan), scores))
    page = write_donors_page(arguments.out, done, typed(arguments.command, "donors"))
    print(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
