"""`pixnet predict`: from an H&E slide to its expression field."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixnet.cli.options import Device, DeviceOption, OverwriteOption
from pixnet.cli.progress import Progress
from pixnet.errors import PixNetWarning

if TYPE_CHECKING:
    from pixnet.slide import Slide


def predict(
    slide: Annotated[Path, typer.Argument(help="Image of a section stained with H&E.")],
    model: Annotated[Path, typer.Option(metavar="MODEL", help="Folder that `pixnet train` wrote.")],
    out: Annotated[Path, typer.Option(metavar="FIELD", help="Folder of the field.")],
    mpp: Annotated[
        float | None, typer.Option(metavar="X", help="um per pixel of the image, where it does not say so itself.")
    ] = None,
    device: DeviceOption = Device.auto,
    overwrite: OverwriteOption = False,
) -> None:
    """Predict the dense expression field of a slide."""
    from pixnet.slide import Slide

    image = Slide.open(slide, mpp)
    from pixnet.model import PixNet

    trained = PixNet.load(model)
    _check_stain(image, trained.card)
    megapixels = image.width_um * image.height_um / trained.config.network.mpp**2 / 1e6
    with Progress() as progress:

        def tell(done: int, total: int) -> None:
            progress("predict", done, total, f"{megapixels * done / total:.1f} of {megapixels:.1f} megapixels")

        field = trained.predict(image, out, device=device.value, overwrite=overwrite, progress=tell)
    height, width = field.grid.shape
    typer.echo(
        f"Field: {out} ({width} x {height} cells of {field.grid.pitch_um:g} um, {len(field.genes)} genes; "
        f"{image.mpp:.4g} um per pixel from {image.mpp_source})"
    )


def _check_stain(slide: Slide, card: Mapping[str, Any]) -> None:
    """Warn of a slide that is stained otherwise than those that the model was trained on."""
    from pixnet.inspection.trained_on import TrainedOn, check_stain

    for finding in check_stain(slide, TrainedOn.of(card)):
        if finding.level == "warning":
            warnings.warn(f"{slide.path or slide.name}: {finding.text} {finding.advice}", PixNetWarning, stacklevel=2)
