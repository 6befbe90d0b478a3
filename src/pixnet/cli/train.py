"""`pixnet train`: a model folder from a manifest of measured samples."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from pixnet.cli.checks import SkipChecksOption, read_checked
from pixnet.cli.options import (
    ConfigOption,
    Device,
    DeviceOption,
    EncoderOption,
    FeaturesOption,
    GenesOption,
    OverwriteOption,
    PresetOption,
    SamplesOption,
    SeedOption,
    TargetOption,
    names,
    read_config,
)
from pixnet.cli.process import keep_freed_memory
from pixnet.cli.progress import Progress
from pixnet.errors import ModelError, PixNetWarning
from pixnet.files import check_place
from pixnet.lock import locked


def train(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="TOML file that lists the samples.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="Folder for the model.")],
    samples: SamplesOption = None,
    config: ConfigOption = None,
    genes: GenesOption = None,
    preset: PresetOption = None,
    target: TargetOption = None,
    encoder: EncoderOption = None,
    features: FeaturesOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was interrupted.")] = False,
    seed: SeedOption = None,
    device: DeviceOption = Device.auto,
    overwrite: OverwriteOption = False,
    skip_checks: SkipChecksOption = False,
    estimate: Annotated[
        bool,
        typer.Option(help="Train up to three more times, without some donors each, to estimate the score on new ones."),
    ] = True,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of CPU threads.")] = None,
) -> None:
    """Train a model on measured samples.

    The samples are inspected first, as by `pixnet inspect`; samples that cannot be used are refused. Checkpoints are
    stored in MODEL.work until the model is saved. After an interruption, run the same command with --resume to
    continue.
    """
    from pixnet.model.card import is_model

    check_place(out, ModelError, what="a model folder", replaceable=is_model, overwrite=overwrite)
    settings = read_config(config, preset, target, genes, encoder=encoder, features=features, seed=seed)
    absolute = out.resolve()
    work = absolute.with_name(f"{absolute.name}.work")
    _check_work(work, resume)
    from pixnet.readers.manifest import chosen_entries, manifest_entries

    entries = chosen_entries(manifest, manifest_entries(manifest), names(samples, "--samples"))
    chosen = read_checked(entries, settings.network.mpp, skip_checks)
    keep_freed_memory()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    from pixnet.model import PixNet

    model = PixNet(settings)
    with locked(work, work, ModelError):
        with Progress() as progress:
            model.fit(
                chosen,
                work=work,
                features=features,
                device=device.value,
                resume=resume,
                overwrite=overwrite,
                estimate=estimate,
                progress=progress,
            )
        model.save(out, overwrite=overwrite)
        shutil.rmtree(work)
    typer.echo(f"Model: {out} ({len(model.genes)} genes, {model.card['steps']} steps on {len(chosen)} samples)")
    typer.echo(_expectation(settings.target, model.card["expected"]))


def _expectation(target: str, expected: dict[str, Any] | None) -> str:
    """Return a sentence on what can be expected of a model on slides that it was not trained on."""
    if target == "same-donor":
        meant, what = "on other sections of the same donor", "samples"
    else:
        meant, what = "on slides of other donors", "donors"
    if expected is None:
        return f"Expected {meant}: not estimated (--no-estimate)."
    if "unknown" in expected:
        advice = " For other sections of this donor, train with --target same-donor." if expected["one_donor"] else ""
        return f"Expected {meant}: not known; {expected['unknown']}.{advice}"
    low, high = expected["low"], expected["high"]
    over = f"{low:.3f} to {high:.3f} over {expected['interval_over']}" if low is not None else "no interval"
    how = f"from {expected['folds']} trainings that left out {expected['left_out']} {what} in turn"
    return f"Expected {meant}: PCC@M {expected['pcc_m']:.3f} ({over}), {how}."


def _check_work(work: Path, resume: bool) -> None:
    """Check that training made the work folder if there is one, and warn if there is nothing to resume."""
    if work.exists():
        from pixnet.training.work import check_is_work

        check_is_work(work)
    elif resume:
        message = f"{work}: there is no run to continue; training starts from the beginning."
        warnings.warn(message, PixNetWarning, stacklevel=2)
