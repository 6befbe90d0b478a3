"""`pixnet evaluate`: train on some samples, score on the others, and say so honestly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    SeedOption,
    names,
    read_config,
)
from pixnet.cli.process import keep_freed_memory
from pixnet.cli.progress import Progress
from pixnet.errors import DataError


def evaluate(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="TOML files that list the samples.")],
    hold_out: Annotated[str, typer.Option(metavar="ID,ID", help="Ids of the samples to score on.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")],
    methods: Annotated[str, typer.Option(metavar="A,B", help="Any of pixnet, ridge, mean.")] = "pixnet,ridge,mean",
    samples: SamplesOption = None,
    config: ConfigOption = None,
    genes: GenesOption = None,
    preset: PresetOption = None,
    min_counts: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Leave out regions with fewer counts; 500 by default.")
    ] = None,
    seed: SeedOption = None,
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
    settings = read_config(config, preset, genes, seed)
    if min_counts is not None:
        training = settings.training.model_copy(update={"min_counts": min_counts})
        settings = settings.model_copy(update={"training": training})
    if (out / "results.json").exists() and not overwrite:
        raise DataError(f"{out}: holds results.json already; give another folder, or --overwrite.")
    wanted = names(methods, "--methods") or []
    held_out = names(hold_out, "--hold-out") or []
    from pixnet.evaluation import protocol
    from pixnet.evaluation.report import write_report

    entries = protocol.listed_entries(manifests, names(samples, "--samples"), held_out)
    read = read_checked(entries, settings.network.mpp, skip_checks)
    keep_freed_memory()
    with Progress() as progress:
        outcome = protocol.evaluate(
            read,
            held_out,
            out,
            methods=wanted,
            config=settings,
            device=device.value,
            features=features,
            overwrite=overwrite,
            manifests=manifests,
            progress=progress,
        )
    typer.echo("\n".join(_table(outcome.results)))
    report = write_report(out, outcome.held.samples)
    typer.echo(f"Results: {out / 'results.json'}\nReport: {report}")


_SCORES = ["PCC@F", "PCC@S", "PCC@M", "95% interval", "of noise", "MSE", "MAE", "unfiltered"]


def _table(results: dict[str, Any]) -> list[str]:
    """Lay the scores out in columns."""
    protocol = results["protocol"]
    rows = [["method", *_SCORES, "seconds", "MB"]]
    for name, scores in results["methods"].items():
        low, high = scores["pcc_m_interval"]
        rows.append(
            [
                name,
                *(f"{scores[key]:.3f}" for key in ("pcc_f", "pcc_s", "pcc_m")),
                f"{low:.3f} to {high:.3f}",
                f"{scores['noise_share']:.0%}",
                f"{scores['mse']:.3f}",
                f"{scores['mae']:.3f}",
                f"{scores['unfiltered']['pcc_m']:.3f}",
                f"{scores['seconds']:.0f}",
                f"{scores['peak_rss_mb']:.0f}",
            ]
        )
    noise = results["noise_estimate"]
    rows.append(["(noise estimate)", *(f"{noise[key]:.3f}" for key in ("pcc_f", "pcc_s", "pcc_m"))])
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    one = next(iter(results["methods"].values()))
    return [
        *lines,
        f"Trained on {', '.join(protocol['train'])}; scored on {one['n_regions']} regions of "
        f"{', '.join(protocol['test'])}, {one['n_genes']} genes. {results['excluded_regions']} regions are left out "
        f"(fewer than {protocol['min_counts']} counts, or no data); unfiltered: PCC@M with those of few counts.",
    ]
