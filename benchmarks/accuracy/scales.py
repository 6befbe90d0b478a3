"""Every method across scales on virtual tissue: `python -m benchmarks.accuracy.scales`; see docs, "Across scales".

The tables are written from `benchmarks/results`; only runs that are missing there are computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.accuracy.ablations import VARIANTS, read_variants
from benchmarks.accuracy.arguments import add_published, typed
from benchmarks.accuracy.pages import headline, write_scales_accuracy, write_scales_page
from benchmarks.accuracy.results import Results
from benchmarks.accuracy.scales_plan import ScalesPlan
from pixnet.cli.progress import Progress
from pixnet.config import Config
from pixnet.demo.regions import ScaleSettings
from pixnet.errors import DataError, PixNetError
from pixnet.evaluation.methods import METHODS, Options
from pixnet.evaluation.runs import RunStore


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.scales", description=__doc__)
    parser.add_argument("--presets", default="breast,colon,cortex", metavar="A,B", help="virtual tissues")
    parser.add_argument(
        "--sizes", default="100,55", metavar="UM,UM", help="sizes of training regions; 100+55 trains on both"
    )
    parser.add_argument("--methods", default=",".join(METHODS), metavar="A,B")
    parser.add_argument("--seeds", default="0", metavar="0,1,2")
    add_published(parser, out="out/benchmark-virtual")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings of pixnet")
    parser.add_argument("--only", metavar="NAME,NAME", help="also these variants of pixnet, from --variants")
    parser.add_argument("--variants", type=Path, default=VARIANTS, metavar="FILE.toml")
    parser.add_argument("--side-um", type=float, default=1200.0, help="side of all slides")
    parser.add_argument("--places", type=int, default=800, help="regions of each size on each slide")
    parser.add_argument("--genes", type=int, default=100)
    arguments = parser.parse_args()
    command = typed(arguments.command, "scales")
    base = Config.read(arguments.config)
    variants = read_variants(arguments.variants, base, arguments.only.split(",")) if arguments.only else {}
    methods, seeds = arguments.methods.split(","), [int(seed) for seed in arguments.seeds.split(",")]
    results, store, done = Results(arguments.results), RunStore(arguments.runs), []
    with Progress() as progress:
        for settings in _settings(arguments):
            options = Options(arguments.device, progress=progress)
            plan = ScalesPlan(settings, {"": base, **variants}, methods, seeds, store, options)
            scores = results.complete(plan, arguments.rescore)
            done.append((plan, results.facts(plan), scores))
            page = write_scales_page(arguments.out, *done[-1], command)
            print(headline(plan, scores), f"Report: {page}", sep="\n", flush=True)
    write_scales_accuracy(arguments.out / "accuracy.md", done, command)


def _settings(arguments: argparse.Namespace) -> list[ScaleSettings]:
    """Return the settings of every tissue and size of training."""
    try:
        sizes = [tuple(float(size) for size in text.split("+")) for text in arguments.sizes.split(",")]
    except ValueError as error:
        raise DataError(f"--sizes {arguments.sizes}: give sizes in um, such as 100,55 or 100+55.") from error
    same = {"side_um": arguments.side_um, "places": arguments.places, "genes": arguments.genes}
    return [ScaleSettings(preset, of, **same) for of in sizes for preset in arguments.presets.split(",")]


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
