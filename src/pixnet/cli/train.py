"""`pixnet train`: from a manifest of measured samples to a model folder."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Annotated

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
from pixnet.errors import ModelError, PixNetError, PixNetWarning
from pixnet.training.feature_costs import COSTS


def train(
    manifest: Annotated[Path, typer.Argument(help="TOML file that lists the samples.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="Folder of the model.")],
    samples: SamplesOption = None,
    config: ConfigOption = None,
    genes: GenesOption = None,
    preset: PresetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    seed: SeedOption = None,
    device: DeviceOption = Device.auto,
    overwrite: OverwriteOption = False,
    skip_checks: SkipChecksOption = False,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads of the processor to use.")] = None,
) -> None:
    """Train a model on measured samples.

    The samples are inspected first, as by `pixnet inspect`; those that cannot be used are refused.
    Checkpoints lie in MODEL.work until the model is saved. After a kill, the same command with --resume goes on.
    """
    _check_out(out, overwrite)
    settings = read_config(config, preset, genes, seed)
    place = out.resolve()
    work = place.with_name(f"{place.name}.work")
    fresh = _check_work(work, resume)
    from pixnet.readers.manifest import chosen_entries, manifest_entries

    entries = chosen_entries(manifest, manifest_entries(manifest), names(samples, "--samples"))
    read = read_checked(entries, settings.network.mpp, skip_checks)
    keep_freed_memory()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    from pixnet.model import PixNet

    model = PixNet(settings)
    try:
        with Progress() as progress:
            model.fit(read, work=work, device=device.value, resume=resume, progress=progress)
    except PixNetError:
        if fresh:
            shutil.rmtree(work, ignore_errors=True)
        raise
    model.save(out, overwrite=overwrite)
    shutil.copy(work / "metrics.csv", out / "metrics.csv")
    shutil.rmtree(work)
    typer.echo(f"Model: {out} ({len(model.genes)} genes, {model.card['steps']} steps on {len(read)} samples)")
    if settings.network.surroundings_um is None:
        if model.network.config.surroundings_um:
            typer.echo("Surroundings: used, since all samples are of one donor.")
        else:
            typer.echo("Surroundings: none, since the samples are of several donors (one without a donor is its own).")


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse what cannot be written before hours are spent; overwrite models only, not any folder."""
    if not out.exists():
        return
    if not overwrite:
        raise ModelError(f"{out}: exists already; give another place, or --overwrite.")
    if not (out / "card.json").is_file():
        raise ModelError(f"{out}: is no model folder (it has no card.json), so it is not overwritten.")


def _check_work(work: Path, resume: bool) -> bool:
    """Tell whether the work folder is new; refuse one that no training made."""
    if not work.exists():
        if resume:
            warnings.warn(f"{work}: there is no run to go on with; training starts anew.", PixNetWarning, stacklevel=2)
        return True
    ours = {"run", "features", "metrics.csv", COSTS}
    if not work.is_dir() or any(p.name not in ours and p.suffix not in (".ckpt", ".part") for p in work.iterdir()):
        raise ModelError(f"{work}: is in the way of the checkpoints and no work folder of pixnet; move it away.")
    return False
