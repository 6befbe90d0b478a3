"""`pixnet features`: an encoder's features of slides, for trainings and predictions without its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixnet.cli.options import (
    ConfigOption,
    Device,
    DeviceOption,
    EncoderOption,
    PresetOption,
    SamplesOption,
    TargetOption,
    names,
    read_config,
)
from pixnet.cli.progress import Progress
from pixnet.errors import DataError

if TYPE_CHECKING:
    from pixnet.model.stored import Extraction

_MANIFEST = ".toml"


def features(
    slides: Annotated[
        list[Path],
        typer.Argument(metavar="SLIDES", help="Images of H&E-stained sections, or one TOML file of samples."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the features; it may hold others already.")],
    encoder: EncoderOption = None,
    config: ConfigOption = None,
    preset: PresetOption = None,
    target: TargetOption = None,
    samples: SamplesOption = None,
    views: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Views of each slide; default: what training needs for samples, 1 for slides."
        ),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(metavar="X", help="Pixel size of the images, in um; needed if the files do not state it."),
    ] = None,
    no_tissue_mask: Annotated[bool, typer.Option("--no-tissue-mask", help="Also cover bare glass.")] = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Store an encoder's features of slides, for use elsewhere.

    Models are trained on them and slides predicted from them without the encoder's weights.
    The features of samples serve to train on them, those of slides to predict them. What DIR holds already is not
    computed again, so after an interruption run the same command again. Several processes may fill one DIR.
    """
    settings = read_config(config, preset, target, None, encoder=encoder)
    from_manifest = [path for path in slides if path.suffix == _MANIFEST]
    if from_manifest and len(slides) > 1:
        raise DataError(f"{from_manifest[0]}: give either slides or one file of samples, not both.")
    if samples is not None and not from_manifest:
        raise DataError(f"--samples {samples}: chooses samples of a TOML file, but slides were given.")
    chosen = _samples(slides[0], names(samples, "--samples"), mpp) if from_manifest else _slides(slides, mpp)
    count = views or ((settings.training.views or 1) if from_manifest else 1)
    training = settings.training.model_copy(update={"views": count})
    import torch

    from pixnet.features.store import StoredFeatures
    from pixnet.model.stored import extract
    from pixnet.network.device import choose_device
    from pixnet.network.network import Network

    torch.manual_seed(training.seed)  # as in training, for an encoder with random weights
    network = Network(settings.network, 1).to(choose_device(device.value)).eval()
    stored = StoredFeatures(network, out)
    with Progress() as progress:
        made = extract(chosen, stored, training, not no_tissue_mask, progress)
    typer.echo(
        f"Features: {out} ({len(chosen)} slides, {count} views each, {made} of {count * len(chosen)} computed now; "
        f"encoder {settings.network.encoder.name} at {settings.network.mpp:g} um per pixel)"
    )


def _samples(manifest: Path, chosen: Sequence[str] | None, mpp: float | None) -> list[Extraction]:
    """Return the slides of a manifest with their regions; the counts are not kept."""
    if mpp is not None:
        raise DataError(f"--mpp {mpp:g}: with a file of samples, set `mpp` of each sample in {manifest}.")
    from pixnet.model.stored import Extraction
    from pixnet.readers.manifest import chosen_entries, manifest_entries

    samples = (entry.read() for entry in chosen_entries(manifest, manifest_entries(manifest), chosen))
    return [Extraction(sample.slide, sample.regions) for sample in samples]


def _slides(paths: Sequence[Path], mpp: float | None) -> list[Extraction]:
    from pixnet.model.stored import Extraction
    from pixnet.slide import Slide

    return [Extraction(Slide.open(path, mpp)) for path in paths]
