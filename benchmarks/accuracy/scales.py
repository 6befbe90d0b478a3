"""Every method across scales on virtual tissue: `python -m benchmarks.accuracy.scales`; see docs, "Across scales".

Tables are written from `benchmarks/results`; runs that are missing there are computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.accuracy.ablations import VARIANTS, read_variants
from benchmarks.accuracy.pages import headline, typed, write_scales_accuracy, write_scales_page
from benchmarks.accuracy.results import FOLDER, Results
from benchmarks.accuracy.scales_plan import ScalesPlan
from pixnet.cli.progress import Progress
from pixnet.config import Config
from pixnet.demo.regions import ScaleSettings
from pixnet.errors import DataError, PixNetError
from pixnet.evaluation.methods import METHODS, Options
from pixnet.evaluation.runs import RunStore


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.scales", description=__doc__)
    parser.add_argument("--presets", default="breast,colon,cortex", metavar="A,B", help="virtual tissues")
    parser.add_argument(
        "--sizes", default="100,55", metavar="UM,UM", help="sizes of training regions, one by one; 100+55 for both"
    )
    parser.add_argument("--methods", default=",".join(METHODS), metavar="A,B")
    parser.add_argument("--seeds", default="0", metavar="0,1,2")
    parser.add_argument("--results", type=Path, default=FOLDER, metavar="DIR", help="the two tables of all results")
    parser.add_argument("--runs", type=Path, default=Path("out/runs"), metavar="DIR", help="for runs being computed")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark-virtual"), metavar="DIR", help="for the pages")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings of pixnet")
    parser.add_argument("--only", metavar="NAME,NAME", help="variants of pixnet beside it, of --variants")
    parser.add_argument("--variants", type=Path, default=VARIANTS, metavar="FILE.toml")
    parser.add_argument("--side-um", type=float, default=1200.0, help="side of all slides")
    parser.add_argument("--places", type=int, default=800, help="regions of each size on each slide")
    parser.add_argument("--genes", type=int, default=100)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--command", help="command to be named in the pages, in place of this one")
    options = parser.parse_args()
    command = typed(options.command, "scales")
    base = Config.read(options.config)
    variants = read_variants(options.variants, base, options.only.split(",")) if options.only else {}
    seeds = [int(seed) for seed in options.seeds.split(",")]
    results, store = Results(options.results), RunStore(options.runs)
    done = []
    with Progress() as progress:
        for sizes in options.sizes.split(","):
            for preset in options.presets.split(","):
                settings = ScaleSettings(
                    preset, _sizes(sizes), side_um=options.side_um, places=options.places, genes=options.genes
                )
                own = Options(options.device, None, progress)
                plan = ScalesPlan(settings, {"": base, **variants}, options.methods.split(","), seeds, store, own)
                with store.locked():
                    scores = results.complete(plan)
                done.append((plan, results.facts(plan), scores))
                page = write_scales_page(options.out, *done[-1], command)
                write_scales_accuracy(options.out / "accuracy.md", done, command)
                print(headline(plan, scores), f"Report: {page}", sep="\n", flush=True)


def _sizes(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(size) for size in text.split("+"))
    except ValueError as error:
        raise DataError(f"--sizes {text}: give sizes in um, such as 100,55 or 100+55.") from error


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
