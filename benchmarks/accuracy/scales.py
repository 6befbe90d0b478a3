"""Across scales on virtual tissue: `python -m benchmarks.accuracy.scales --cells DIR --out DIR`; see docs/scales.md."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks.accuracy.ablations import VARIANTS
from benchmarks.accuracy.scale_accuracy import scales_accuracy_page
from benchmarks.accuracy.scale_report import write_scales
from benchmarks.accuracy.scale_run import run_scales
from benchmarks.accuracy.scales_tables import headline
from benchmarks.accuracy.variants import read_variants
from pixnet.cli.progress import Progress
from pixnet.config import Config
from pixnet.demo.regions import ScaleSettings
from pixnet.errors import DataError, PixNetError
from pixnet.evaluation.methods import METHODS


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.scales", description=__doc__)
    parser.add_argument("--presets", default="breast,colon,cortex", metavar="A,B", help="virtual tissues")
    parser.add_argument(
        "--sizes", default="100,55", metavar="UM,UM", help="sizes of training regions, one by one; 100+55 for both"
    )
    parser.add_argument("--methods", default=",".join(METHODS), metavar="A,B")
    parser.add_argument("--seeds", default="0", metavar="0,1,2")
    parser.add_argument("--cells", type=Path, required=True, metavar="DIR", help="what is done is kept here")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark-virtual"), metavar="DIR", help="for the tables")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="of pixnet")
    parser.add_argument("--only", metavar="NAME,NAME", help="variants of pixnet beside it, of --variants")
    parser.add_argument("--variants", type=Path, default=VARIANTS, metavar="FILE.toml")
    parser.add_argument("--side-um", type=float, default=1200.0, help="side of all slides")
    parser.add_argument("--places", type=int, default=800, help="regions of each size on each slide")
    parser.add_argument("--genes", type=int, default=100)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--command", help="to be named in the tables, in place of this one")
    options = parser.parse_args()
    command = options.command or shlex.join(["python", "-m", "benchmarks.accuracy.scales", *sys.argv[1:]])
    base = Config.read(options.config)
    variants = read_variants(options.variants, base, options.only.split(",")) if options.only else {}
    seeds = [int(seed) for seed in options.seeds.split(",")]
    asked = [
        ScaleSettings(
            preset, _sizes(sizes), side_um=options.side_um, places=options.places, genes=options.genes
        )
        for sizes in options.sizes.split(",")
        for preset in options.presets.split(",")
    ]  # fmt: skip
    every = []
    with Progress() as progress:
        for number, settings in enumerate(asked):
            progress("benchmark", number, len(asked), settings.name)
            results = run_scales(
                settings, options.methods.split(","), seeds, options.cells, config=base, variants=variants,
                device=options.device, progress=progress,
            )  # fmt: skip
            every.append(results)
            page = write_scales(results, options.out, command)
            (options.out / "accuracy.md").write_text(scales_accuracy_page(every, command), encoding="utf-8")
            print(headline(results), f"Report: {page}", sep="\n", flush=True)
        progress("benchmark", len(asked), len(asked), "")


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
