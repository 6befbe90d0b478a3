"""`pixnet evaluate`: scores of methods on samples that they were not trained on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixnet.cli.checks import SkipChecksOption, read_checked
from pixnet.cli.options import (
    ConfigOption,
    Device,
    DeviceOption,
    GenesOption,
    OverwriteOption,
    PresetOption,
    SamplesOption,
    TargetOption,
    names,
    read_config,
)
from pixnet.cli.process import keep_freed_memory
from pixnet.cli.progress import Progress
from pixnet.cli.scores import score_lines
from pixnet.errors import DataError

if TYPE_CHECKING:
    from pixnet.config import Config
    from pixnet.evaluation.imported import Imported
    from pixnet.evaluation.methods import Options
    from pixnet.evaluation.protocol import Protocol
    from pixnet.sample import Sample


def evaluate(
    manifests: Annotated[
        list[Path] | None, typer.Argument(metavar="MANIFEST...", help="TOML files that list the samples.")
    ] = None,
    hold_out: Annotated[str | None, typer.Option(metavar="ID,ID", help="Ids of the samples to score on.")] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="Folds: loso, lodo, kfold:K (by donor) or blocks:K:GAP (GAP in um)."),
    ] = None,
    protocol: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Repeat a frozen protocol exactly; needs no manifest.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the results.")] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Methods: pixnet, ridge, mean, colour-ridge, hest-ridge, knn, st-net, istar; default: the first "
            "three.",
        ),
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="NAME=FILE.h5ad",
            help="Also score another tool's predictions of the genes that --write-protocol lists; can be repeated.",
        ),
    ] = None,
    compartments: Annotated[
        bool,
        typer.Option(
            "--compartments",
            help="Also test whether the maps of pixnet and istar follow nuclei and eosin inside the regions.",
        ),
    ] = False,
    samples: SamplesOption = None,
    config: ConfigOption = None,
    genes: GenesOption = None,
    preset: PresetOption = None,
    target: TargetOption = None,
    min_counts: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Leave out regions with fewer counts; default: 500.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="0,1,2", help="Train once with each seed; default: the seed of the configuration."),
    ] = None,
    write_protocol: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Freeze folds, genes, seeds and hashes in this file, and run nothing."),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            "--runs",
            "--cells",
            metavar="DIR",
            help="Folder that stores each run, so that an interrupted evaluation can continue; default: a folder in "
            "--out if there are several folds or seeds. --cells is the old name.",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    features: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for cached features of the encoder, which evaluations can share."),
    ] = None,
    overwrite: OverwriteOption = False,
    skip_checks: SkipChecksOption = False,
) -> None:
    """Score methods on samples that they were not trained on.

    The samples are inspected first, as by `pixnet inspect`; samples that cannot be used are refused.
    """
    choices = {
        "MANIFEST": manifests,
        "--hold-out": hold_out,
        "--split": split,
        "--methods": methods,
        "--samples": samples,
        "--config": config,
        "--genes": genes,
        "--preset": preset,
        "--target": target,
        "--min-counts": min_counts,
        "--seeds": seeds,
    }
    _check_choices([name for name, value in choices.items() if value not in (None, [])], protocol, write_protocol)
    _check_outputs(
        out,
        {"--out": out, "--runs": runs, "--import": imports, "--compartments": compartments},
        write_protocol,
        overwrite,
    )
    if protocol is not None:
        frozen, used = _read_frozen(protocol, skip_checks)
    else:
        frozen, used = _freeze(
            manifests or [],
            read_config(config, preset, target, genes, min_counts=min_counts),
            methods=names(methods, "--methods"),
            held_out=names(hold_out, "--hold-out") or [],
            seeds=_seeds(seeds),
            split=split,
            chosen=names(samples, "--samples"),
            skip_checks=skip_checks,
        )
    if write_protocol is not None:
        typer.echo(f"Protocol: {frozen.write(write_protocol)}")
    elif out is not None:
        from pixnet.evaluation.methods import Options

        several = len(frozen.folds) * len(frozen.seeds) > 1
        runs = runs or (out / "runs" if several else None)
        options = Options(device.value, features)
        _run(frozen, used, out, runs, imports or [], compartments, options, overwrite)


def _check_choices(given: list[str], protocol: Path | None, write_protocol: Path | None) -> None:
    """Check that the options say once what to evaluate; `given` names those of which a protocol freezes the values."""
    if protocol is not None:
        given = given + (["--write-protocol"] if write_protocol is not None else [])
        if given:
            raise DataError(
                f"{', '.join(given)} with --protocol {protocol}: a frozen protocol cannot be changed; leave "
                f"{'it' if len(given) == 1 else 'them'} out."
            )
    elif "MANIFEST" not in given:
        raise DataError("no manifest is given; give one or several, or a --protocol.")
    elif ("--hold-out" in given) == ("--split" in given):
        raise DataError("give either --hold-out ID,ID or --split loso|lodo|kfold:K|blocks:K:GAP.")


def _check_outputs(
    out: Path | None, running: Mapping[str, object], write_protocol: Path | None, overwrite: bool
) -> None:
    """Check that there is one place for the output, with nothing in it that must not be replaced."""
    if write_protocol is not None:
        for name, value in running.items():
            if value:
                raise DataError(f"{name} with --write-protocol: nothing is run; leave one of the two out.")
        if write_protocol.exists() and not overwrite:
            raise DataError(f"{write_protocol}: exists already; give another name, or --overwrite.")
    elif out is None:
        raise DataError("no --out is given; give a folder for the results.")
    elif (out / "results.json").exists() and not overwrite:
        raise DataError(f"{out}: holds results.json already; give another folder, or --overwrite.")


def _freeze(
    manifests: list[Path],
    config: Config,
    *,
    methods: list[str] | None,
    held_out: list[str],
    seeds: list[int] | None,
    split: str | None,
    chosen: list[str] | None,
    skip_checks: bool,
) -> tuple[Protocol, list[Sample]]:
    """Read the samples and freeze a protocol for them."""
    from pixnet.evaluation.methods import check_methods
    from pixnet.evaluation.protocol import Protocol
    from pixnet.evaluation.runner import USUAL
    from pixnet.evaluation.splits import check_split, hold_out, listed_entries, make_folds
    from pixnet.sample.genes import join_genes

    known_methods = check_methods(methods or USUAL)
    if split is not None:
        check_split(split)
    entries = listed_entries(manifests, chosen, held_out)
    samples = join_genes(read_checked(entries, config.network.mpp, skip_checks))
    folds = make_folds(samples, split) if split else hold_out(samples, held_out)
    split = split or "hold-out"
    protocol = Protocol.freeze(samples, folds, known_methods, config, split=split, seeds=seeds, manifests=manifests)
    return protocol, samples


def _read_frozen(path: Path, skip_checks: bool) -> tuple[Protocol, list[Sample]]:
    """Read a protocol and its samples."""
    from pixnet.evaluation.protocol import Protocol
    from pixnet.evaluation.splits import listed_entries
    from pixnet.network.encoders.sources import check_weights
    from pixnet.sample.genes import join_genes

    protocol = Protocol.read(path)
    check_weights(protocol.config.network.encoder)
    listed = {entry.id: entry for entry in listed_entries(protocol.manifests)}
    missing = [name for name in protocol.samples if name not in listed]
    if missing:
        raise DataError(f"{path}: needs the sample {missing[0]!r}, but its manifests list {', '.join(listed)}.")
    entries = [listed[name] for name in protocol.samples]
    return protocol, join_genes(read_checked(entries, protocol.config.network.mpp, skip_checks))


def _seeds(text: str | None) -> list[int] | None:
    seeds = names(text, "--seeds")
    if seeds is None:
        return None
    if not all(seed.isascii() and seed.isdigit() for seed in seeds):
        raise DataError(f"--seeds {text!r}: give whole numbers from 0 upwards, with commas between them.")
    return [int(seed) for seed in seeds]


def _imported(texts: list[str]) -> dict[str, Imported]:
    from pixnet.evaluation.imported import Imported

    tables: dict[str, Imported] = {}
    for text in texts:
        table = Imported.parse(text)
        if table.name in tables:
            raise DataError(f"--import {table.name!r}: this name is given twice; give each table its own name.")
        tables[table.name] = table
    return tables


def _run(
    protocol: Protocol,
    samples: list[Sample],
    out: Path,
    runs: Path | None,
    imports: list[str],
    compartments: bool,
    options: Options,
    overwrite: bool,
) -> None:
    """Run a protocol, print the scores and write the report."""
    tables = _imported(imports)
    from pixnet.evaluation.report import write_report
    from pixnet.evaluation.runner import run

    keep_freed_memory()
    report = partial(write_report, samples=samples, command=shlex.join(["pixnet", *sys.argv[1:]]))
    with Progress() as progress:
        outcome = run(
            protocol,
            samples,
            out,
            runs=runs,
            imports=tables,
            compartments=compartments,
            options=replace(options, progress=progress),
            overwrite=overwrite,
            finish=report,
        )
    typer.echo("\n".join(score_lines(outcome.results)))
    typer.echo(f"Results: {out / 'results.json'}\nReport: {out / 'report.html'}")
