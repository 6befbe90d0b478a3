"""`pixnet evaluate`: train on some samples, score on the others, and say so honestly."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
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
    Preset,
    PresetOption,
    SamplesOption,
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
    from pixnet.evaluation.protocol import Protocol
    from pixnet.sample import Sample


def evaluate(
    manifests: Annotated[
        list[Path] | None, typer.Argument(metavar="MANIFEST...", help="TOML files that list the samples.")
    ] = None,
    hold_out: Annotated[str | None, typer.Option(metavar="ID,ID", help="Ids of the samples to score on.")] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="loso, lodo, kfold:K (by donor) or blocks:K:GAP (um).")
    ] = None,
    protocol: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Repeat exactly what is frozen there; needs no manifest.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the results.")] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Of pixnet, ridge, mean, colour-ridge, hest-ridge, knn, st-net and istar; the first three by default.",
        ),
    ] = None,
    imports: Annotated[
        list[str] | None, typer.Option("--import", metavar="NAME=FILE.h5ad", help="Score another tool's predictions.")
    ] = None,
    samples: SamplesOption = None,
    config: ConfigOption = None,
    genes: GenesOption = None,
    preset: PresetOption = None,
    min_counts: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Leave out regions with fewer counts; 500 by default.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,2", help="Train once with each; by default that of the configuration.")
    ] = None,
    write_protocol: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Freeze folds, genes, seeds and hashes there; run nothing.")
    ] = None,
    cells: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what is done here, and go on from it; by default in --out, if long."),
    ] = None,
    device: DeviceOption = Device.auto,
    features: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the encoder's features, which runs can share.")
    ] = None,
    overwrite: OverwriteOption = False,
    skip_checks: SkipChecksOption = False,
) -> None:
    """Score methods on held-out samples after training them on the others.

    The samples are inspected first, as by `pixnet inspect`; those that cannot be used are refused.
    """
    settings = {
        "MANIFEST": manifests, "--hold-out": hold_out, "--split": split, "--methods": methods, "--samples": samples,
        "--config": config, "--genes": genes, "--preset": preset, "--min-counts": min_counts, "--seeds": seeds,
    }  # fmt: skip
    _check_options(settings, protocol, write_protocol, {"--out": out, "--cells": cells, "--import": imports})
    if out is not None and (out / "results.json").exists() and not overwrite:
        raise DataError(f"{out}: holds results.json already; give another folder, or --overwrite.")
    if write_protocol is not None and write_protocol.exists() and not overwrite:
        raise DataError(f"{write_protocol}: exists already; give another name, or --overwrite.")
    if protocol is None:
        asked = _config(config, preset, genes, min_counts)
        frozen, read = _freeze(manifests or [], hold_out, split, methods, samples, seeds, asked, skip_checks)
    else:
        frozen, read = _thawed(protocol, skip_checks)
    if out is None:
        assert write_protocol is not None  # noqa: S101
        typer.echo(f"Protocol: {frozen.write(write_protocol)}")
        return
    several = len(frozen.folds) * len(frozen.seeds) > 1
    _run(
        frozen, read, out, cells or (out / "cells" if several else None), _imported(imports or []), device.value,
        features, overwrite,
    )  # fmt: skip


def _check_options(
    settings: Mapping[str, object], protocol: Path | None, write: Path | None, running: Mapping[str, object]
) -> None:
    """Refuse options that contradict each other, by name."""
    given = [name for name, value in settings.items() if value is not None and value != []]
    if protocol is not None:
        given += ["--write-protocol"] if write is not None else []
        if given:
            raise DataError(
                f"{', '.join(given)} with --protocol {protocol}: what is frozen cannot be changed; leave it out."
            )
    elif "MANIFEST" not in given:
        raise DataError("no manifest is given; name one or several, or a --protocol.")
    elif ("--hold-out" in given) == ("--split" in given):
        raise DataError("give --hold-out ID,ID or --split loso|lodo|kfold:K|blocks:K:GAP, one of the two.")
    useless = [name for name, value in running.items() if value]
    if write is not None and useless:
        raise DataError(f"{useless[0]} with --write-protocol: nothing is run; leave one of the two out.")
    if write is None and running["--out"] is None:
        raise DataError("no --out is given; name a folder for the results.")


def _config(path: Path | None, preset: Preset | None, genes: int | None, min_counts: int | None) -> Config:
    settings = read_config(path, preset, genes)
    if min_counts is None:
        return settings
    training = settings.training.model_copy(update={"min_counts": min_counts})
    return settings.model_copy(update={"training": training})


def _freeze(
    manifests: list[Path],
    hold_out: str | None,
    split: str | None,
    methods: str | None,
    chosen: str | None,
    seeds: str | None,
    config: Config,
    skip_checks: bool,
) -> tuple[Protocol, list[Sample]]:
    """Read the samples and freeze what is asked for."""
    wanted, held_out, numbers = names(methods, "--methods"), names(hold_out, "--hold-out") or [], _seeds(seeds)
    from pixnet.evaluation import folds
    from pixnet.evaluation.methods import check_methods
    from pixnet.evaluation.protocol import Protocol
    from pixnet.evaluation.runner import USUAL
    from pixnet.evaluation.splits import listed_entries
    from pixnet.sample.genes import join_genes

    known = check_methods(wanted or USUAL)
    if split is not None:
        folds.check_split(split)
    entries = listed_entries(manifests, names(chosen, "--samples"), held_out)
    read = join_genes(read_checked(entries, config.network.mpp, skip_checks))
    made = folds.make_folds(read, split) if split else folds.hold_out(read, held_out)
    frozen = Protocol.freeze(
        read, made, known, config, split=split or "hold-out", seeds=numbers, manifests=manifests
    )  # fmt: skip
    return frozen, read


def _thawed(path: Path, skip_checks: bool) -> tuple[Protocol, list[Sample]]:
    """Read a protocol and its samples."""
    from pixnet.evaluation.protocol import Protocol
    from pixnet.evaluation.splits import listed_entries
    from pixnet.sample.genes import join_genes

    frozen = Protocol.read(path)
    listed = {entry.id: entry for entry in listed_entries(frozen.manifests)}
    missing = [name for name in frozen.samples if name not in listed]
    if missing:
        raise DataError(f"{path}: needs the sample {missing[0]!r}; its manifests list {', '.join(listed)}.")
    entries = [listed[name] for name in frozen.samples]
    return frozen, join_genes(read_checked(entries, frozen.config.network.mpp, skip_checks))


def _seeds(text: str | None) -> list[int] | None:
    found = names(text, "--seeds")
    if found is None:
        return None
    if not all(seed.isascii() and seed.isdigit() for seed in found):
        raise DataError(f"--seeds {text!r}: give whole numbers from 0 upwards, with commas between them.")
    return [int(seed) for seed in found]


def _imported(texts: list[str]) -> dict[str, Imported]:
    if not texts:
        return {}
    from pixnet.evaluation.imported import Imported

    tables: dict[str, Imported] = {}
    for text in texts:
        table = Imported.parse(text)
        if table.name in tables:
            raise DataError(f"--import {table.name}: this name is given twice; call one otherwise.")
        tables[table.name] = table
    return tables


def _run(
    protocol: Protocol,
    samples: list[Sample],
    out: Path,
    cells: Path | None,
    imports: Mapping[str, Imported],
    device: str,
    features: Path | None,
    overwrite: bool,
) -> None:
    from pixnet.evaluation.report import write_report
    from pixnet.evaluation.runner import run

    keep_freed_memory()
    with Progress() as progress:
        outcome = run(
            protocol, samples, out, cells=cells, imports=imports, device=device, features=features,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
    typer.echo("\n".join(score_lines(outcome.results)))
    report = write_report(out, samples, command=shlex.join(["pixnet", *sys.argv[1:]]))
    typer.echo(f"Results: {out / 'results.json'}\nReport: {report}")
