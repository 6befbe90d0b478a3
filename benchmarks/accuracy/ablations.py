"""PixNet with some settings changed: `python -m benchmarks.accuracy.ablations SAMPLES.toml --hold-out ID`."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.arguments import add_common, typed
from benchmarks.accuracy.pages import write_ablations_page
from benchmarks.accuracy.protocol_plan import ProtocolPlan
from benchmarks.accuracy.results import Results
from pixnet.cli.progress import Progress
from pixnet.config import Config, merged_settings, read_toml
from pixnet.errors import DataError, ModelError, PixNetError
from pixnet.evaluation.methods import Options
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.runs import RunStore
from pixnet.evaluation.splits import hold_out, make_folds
from pixnet.readers.manifest import read_manifest
from pixnet.sample.genes import join_genes

VARIANTS = Path(__file__).with_name("ablations.toml")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.ablations", description=__doc__)
    parser.add_argument("manifest", type=Path, help="TOML file that lists the samples")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--hold-out", metavar="ID,ID", help="ids of the samples to score on")
    which.add_argument("--split", help="loso, lodo, kfold:K or blocks:K:GAP")
    add_common(parser, out="out/ablations")
    parser.add_argument("--variants", type=Path, default=VARIANTS, metavar="FILE.toml", help="by default all shipped")
    parser.add_argument("--only", metavar="NAME,NAME", help="some of the variants")
    parser.add_argument("--seeds", default="0", metavar="0,1,2")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="what the variants are changes of")
    options = parser.parse_args()
    base = Config.read(options.config)
    only = options.only.split(",") if options.only else None
    configs = {"": base, **read_variants(options.variants, base, only)}
    samples = join_genes(read_manifest(options.manifest))
    folds = hold_out(samples, options.hold_out.split(",")) if options.hold_out else make_folds(samples, options.split)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    protocols = {
        name: Protocol.freeze(samples, folds, ["pixnet"], config, seeds=seeds, manifests=[options.manifest])
        for name, config in configs.items()
    }
    changes = {
        name: differences(base.model_dump(mode="json"), c.model_dump(mode="json")) for name, c in configs.items()
    }
    with Progress() as progress, warnings.catch_warnings():
        warnings.simplefilter("once")
        own = Options(options.device, options.runs / "features", progress)
        plan = ProtocolPlan("ablations", protocols, RunStore(options.runs), own)
        results = Results(options.out)
        scores = results.complete(plan)
    page = write_ablations_page(options.out, changes, results.facts(plan), scores, typed(None, "ablations"))
    print(page.read_text(encoding="utf-8"))


def read_variants(path: str | Path, base: Config, only: Sequence[str] | None = None) -> dict[str, Config]:
    """Read variants: a TOML file with one table for each, which holds the settings that it changes.

    Parameters
    ----------
    path
        The file.
    base
        What they are changes of.
    only
        Names of those to take; all by default.

    Raises
    ------
    DataError
        If the file cannot be read, or a name is not in it.
    ModelError
        If a setting is not known, or a variant changes genes or `min_counts`, for it could not be compared then.
    """
    tables = read_toml(path, "the variants", DataError)
    wanted = list(tables) if only is None else list(dict.fromkeys(only))
    unknown = [name for name in wanted if not isinstance(tables.get(name), dict)]
    if unknown:
        raise DataError(f"{path}: has no variant {unknown[0]!r}; it has {', '.join(tables)}.")
    below = base.model_dump(mode="json")
    variants = {name: Config.from_dict(merged_settings(below, tables[name]), f"{path}: {name}") for name in wanted}
    for name, config in variants.items():
        if (config.genes, config.training.min_counts) != (base.genes, base.training.min_counts):
            raise ModelError(f"{path}: {name}: changes what is scored (genes or min_counts); leave that as it is.")
    return variants


def differences(base: Mapping[str, Any], other: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return the settings that differ, by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in other.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            found |= differences(old, value, f"{place}{key}.")
        elif value != old:
            found[f"{place}{key}"] = value
    return found


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
