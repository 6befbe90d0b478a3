"""`pixnet predict`: the expression field of an H&E slide."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixnet.cli.options import Device, DeviceOption, FeaturesOption, OverwriteOption
from pixnet.cli.process import share_freed_memory
from pixnet.cli.progress import Progress, clock_time
from pixnet.errors import PixNetWarning

if TYPE_CHECKING:
    from pixnet.slide import Slide


def predict(
    slide: Annotated[Path, typer.Argument(metavar="SLIDE", help="Image of an H&E-stained section.")],
    model: Annotated[Path, typer.Option(metavar="MODEL", help="Folder written by `pixnet train`.")],
    out: Annotated[Path, typer.Option(metavar="FIELD", help="Folder for the field.")],
    mpp: Annotated[
        float | None,
        typer.Option(metavar="X", help="Pixel size of the image, in um; needed if the file does not state it."),
    ] = None,
    encoder_weights: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="File or folder with the encoder's weights, if they are not with the model."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a published encoder that is not on this computer from the hub.")
    ] = False,
    features: FeaturesOption = None,
    device: DeviceOption = Device.auto,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Number of threads that read the slide ahead.")] = 1,
    no_tissue_mask: Annotated[bool, typer.Option("--no-tissue-mask", help="Also predict on bare glass.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished field.")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Predict the expression field of a slide.

    The field is written to FIELD.partial, which becomes FIELD when it is complete. After an interruption, run the same
    command with --resume to continue.
    """
    share_freed_memory()
    from pixnet.slide import Slide

    image = Slide.open(slide, mpp)
    from pixnet.model import PixNet

    trained = PixNet.load(model, encoder_weights, download=download, features=features)
    _check_stain(image, trained.card)
    megapixels = image.width_um * image.height_um / trained.config.network.mpp**2 / 1e6
    with Progress() as progress:
        field = trained.predict(
            image,
            out,
            tissue_mask=not no_tissue_mask,
            workers=workers,
            device=device.value,
            resume=resume,
            overwrite=overwrite,
            progress=_speed_reporter(progress, megapixels),
        )
    height, width = field.grid.shape
    typer.echo(
        f"Field: {out} ({width} x {height} pixels of {field.grid.pitch_um:g} um, {len(field.gene_names)} genes; "
        f"{image.mpp:.4g} um per pixel from {image.mpp_source})"
    )


def _speed_reporter(progress: Progress, megapixels: float) -> Callable[[int, int], None]:
    """Return a function that reports speed and time left; blocks of an earlier run count for neither."""
    start, before = time.monotonic(), -1  # `before`: number of blocks that were done when this run started

    def report(done: int, total: int) -> None:
        nonlocal before, start
        if before < 0:
            start, before = time.monotonic(), done
        words = f"slide of {megapixels:.1f} megapixels"
        if done > before:
            seconds = time.monotonic() - start
            speed = megapixels * (done - before) / total / seconds
            words = f"{speed:.2f} of {megapixels:.1f} megapixels a second"
            if done < total:
                words += f", {clock_time(seconds * (total - done) / (done - before))} left"
        progress("predict", done, total, words)

    return report


def _check_stain(slide: Slide, card: Mapping[str, Any]) -> None:
    """Warn if the slide's stain differs from that of the slides that the model was trained on."""
    from pixnet.inspection.trained_on import TrainedOn, check_stain

    for finding in check_stain(slide, TrainedOn.from_card(card)):
        if finding.level == "warning":
            warnings.warn(f"{slide.path or slide.name}: {finding.text} {finding.advice}", PixNetWarning, stacklevel=2)
