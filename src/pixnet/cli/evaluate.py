"""`pixnet evaluate`: scores of methods on samples that they were not trained on."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
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
    samples: SamplesOption = None,
    config: ConfigOption = None,
    genes: GenesOption = None,
    preset: PresetOption = None,
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
    options = EvaluateOptions(
        manifests=manifests or [],
        hold_out=hold_out,
        split=split,
        protocol=protocol,
        out=out,
        methods=methods,
        imports=imports or [],
        samples=samples,
        config=config,
        genes=genes,
        preset=preset,
        min_counts=min_counts,
        seeds=seeds,
        write_protocol=write_protocol,
        runs=runs,
        device=device.value,
        features=features,
        overwrite=overwrite,
        skip_checks=skip_checks,
    )
    options.check()
    frozen, used = _freeze(options) if protocol is None else _read_frozen(protocol, skip_checks)
    if write_protocol is not None:
        typer.echo(f"Protocol: {frozen.write(write_protocol)}")
    elif out is not None:
        _run(options, out, frozen, used)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `pixnet evaluate`, as given; None or empty if an option is not given.

    The help of the command says what each is.
    """

    manifests: list[Path]
    hold_out: str | None
    split: str | None
    protocol: Path | None
    out: Path | None
    methods: str | None
    imports: list[str]
    samples: str | None
    config: Path | None
    genes: int | None
    preset: Preset | None
    min_counts: int | None
    seeds: str | None
    write_protocol: Path | None
    runs: Path | None
    device: str
    features: Path | None
    overwrite: bool
    skip_checks: bool

    def check(self) -> None:
        """Check that the options do not contradict each other, and that no output exists already.

        Raises
        ------
        DataError
            If they do, or if output exists and `overwrite` is false.
        """
        self._check_choices()
        self._check_outputs()

    def _check_choices(self) -> None:
        """Check that the options say once what to evaluate."""
        # What a protocol freezes.
        frozen = {
            "MANIFEST": self.manifests,
            "--hold-out": self.hold_out,
            "--split": self.split,
            "--methods": self.methods,
            "--samples": self.samples,
            "--config": self.config,
            "--genes": self.genes,
            "--preset": self.preset,
            "--min-counts": self.min_counts,
            "--seeds": self.seeds,
        }
        given = [name for name, value in frozen.items() if value is not None and value != []]
        if self.protocol is not None:
            given += ["--write-protocol"] if self.write_protocol is not None else []
            if given:
                raise DataError(
                    f"{', '.join(given)} with --protocol {self.protocol}: a frozen protocol cannot be changed; leave "
                    f"{'it' if len(given) == 1 else 'them'} out."
                )
        elif "MANIFEST" not in given:
            raise DataError("no manifest is given; give one or several, or a --protocol.")
        elif ("--hold-out" in given) == ("--split" in given):
            raise DataError("give either --hold-out ID,ID or --split loso|lodo|kfold:K|blocks:K:GAP.")

    def _check_outputs(self) -> None:
        """Check that there is one place for the output, with nothing in it that must not be replaced."""
        if self.write_protocol is not None:
            running = {"--out": self.out, "--runs": self.runs, "--import": self.imports}
            for name, value in running.items():
                if value:
                    raise DataError(f"{name} with --write-protocol: nothing is run; leave one of the two out.")
            if self.write_protocol.exists() and not self.overwrite:
                raise DataError(f"{self.write_protocol}: exists already; give another name, or --overwrite.")
        elif self.out is None:
            raise DataError("no --out is given; give a folder for the results.")
        elif (self.out / "results.json").exists() and not self.overwrite:
            raise DataError(f"{self.out}: holds results.json already; give another folder, or --overwrite.")


def _read_settings(options: EvaluateOptions) -> Config:
    settings = read_config(options.config, options.preset, options.genes)
    if options.min_counts is None:
        return settings
    training = settings.training.model_copy(update={"min_counts": options.min_counts})
    return settings.model_copy(update={"training": training})


def _freeze(options: EvaluateOptions) -> tuple[Protocol, list[Sample]]:
    """Read the samples and freeze a protocol for them."""
    config = _read_settings(options)
    methods = names(options.methods, "--methods")
    held_out = names(options.hold_out, "--hold-out") or []
    seeds = _seeds(options.seeds)
    from pixnet.evaluation.methods import check_methods
    from pixnet.evaluation.protocol import Protocol
    from pixnet.evaluation.runner import USUAL
    from pixnet.evaluation.splits import check_split, hold_out, listed_entries, make_folds
    from pixnet.sample.genes import join_genes

    known_methods = check_methods(methods or USUAL)
    split = options.split
    if split is not None:
        check_split(split)
    entries = listed_entries(options.manifests, names(options.samples, "--samples"), held_out)
    samples = join_genes(read_checked(entries, config.network.mpp, options.skip_checks))
    made_folds = make_folds(samples, split) if split else hold_out(samples, held_out)
    protocol = Protocol.freeze(
        samples,
        made_folds,
        known_methods,
        config,
        split=split or "hold-out",
        seeds=seeds,
        manifests=options.manifests,
    )
    return protocol, samples


def _read_frozen(path: Path, skip_checks: bool) -> tuple[Protocol, list[Sample]]:
    """Read a protocol and its samples."""
    from pixnet.evaluation.protocol import Protocol
    from pixnet.evaluation.splits import listed_entries
    from pixnet.sample.genes import join_genes

    protocol = Protocol.read(path)
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
    if not texts:
        return {}
    from pixnet.evaluation.imported import Imported

    tables: dict[str, Imported] = {}
    for text in texts:
        table = Imported.parse(text)
        if table.name in tables:
            raise DataError(f"--import {table.name!r}: this name is given twice; give each table its own name.")
        tables[table.name] = table
    return tables


def _run(options: EvaluateOptions, out: Path, protocol: Protocol, samples: list[Sample]) -> None:
    """Run a protocol, print the scores and write the report."""
    several = len(protocol.folds) * len(protocol.seeds) > 1
    imports = _imported(options.imports)
    from pixnet.evaluation.methods import Options
    from pixnet.evaluation.report import write_report
    from pixnet.evaluation.runner import run

    keep_freed_memory()
    with Progress() as progress:
        outcome = run(
            protocol,
            samples,
            out,
            runs=options.runs or (out / "runs" if several else None),
            imports=imports,
            options=Options(options.device, options.features, progress),
            overwrite=options.overwrite,
        )
    typer.echo("\n".join(score_lines(outcome.results)))
    report = write_report(out, samples, command=shlex.join(["pixnet", *sys.argv[1:]]))
    typer.echo(f"Results: {out / 'results.json'}\nReport: {report}")
