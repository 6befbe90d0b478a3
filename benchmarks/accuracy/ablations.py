"""Ablations on measured samples: `python -m benchmarks.accuracy.ablations SAMPLES.toml --hold-out ID --cells DIR`."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from benchmarks.accuracy.variants import read_variants, run_variants, variants_table
from pixnet.cli.progress import Progress
from pixnet.config import Config
from pixnet.errors import PixNetError
from pixnet.evaluation.folds import hold_out, make_folds
from pixnet.readers.manifest import read_manifest
from pixnet.sample.genes import join_genes

VARIANTS = Path(__file__).with_name("ablations.toml")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.ablations", description=__doc__)
    parser.add_argument("manifest", type=Path, help="TOML file that lists the samples")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--hold-out", metavar="ID,ID", help="ids of the samples to score on")
    which.add_argument("--split", help="loso, lodo, kfold:K or blocks:K:GAP")
    parser.add_argument("--cells", type=Path, required=True, metavar="DIR", help="what is done is kept here")
    parser.add_argument("--out", type=Path, default=Path("out/ablations"), metavar="DIR", help="for the tables")
    parser.add_argument("--variants", type=Path, default=VARIANTS, metavar="FILE.toml", help="by default all shipped")
    parser.add_argument("--only", metavar="NAME,NAME", help="some of the variants")
    parser.add_argument("--seeds", default="0", metavar="0,1,2")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="what the variants are changes of")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args()
    base = Config.read(options.config)
    only = options.only.split(",") if options.only else None
    variants = read_variants(options.variants, base, only)
    samples = join_genes(read_manifest(options.manifest))
    folds = hold_out(samples, options.hold_out.split(",")) if options.hold_out else make_folds(samples, options.split)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    with Progress() as progress, warnings.catch_warnings():
        warnings.simplefilter("once")
        found = run_variants(
            samples, folds, base, variants, seeds, options.cells, options.out, manifests=[options.manifest],
            device=options.device, progress=progress,
        )  # fmt: skip
    print(variants_table(found))
    print(f"Tables: {options.out / 'ablations.md'}")


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
