"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixnet.errors import DataError, ModelError

if TYPE_CHECKING:
    from pixnet.config import Config


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Preset(StrEnum):
    """Sizes of network that have a name."""

    small = "small"
    paper = "paper"


DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto uses a GPU if there is one.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
ConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Settings of the network and of training.")
]
GenesOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of genes to predict.")]
PresetOption = Annotated[Preset | None, typer.Option(help="Size of the network; default: small.")]
SeedOption = Annotated[int | None, typer.Option(min=0, metavar="N", help="Seed of all random numbers.")]
SamplesOption = Annotated[str | None, typer.Option(metavar="A,B", help="Ids of the samples to use; default: all.")]


def names(text: str | None, option: str) -> list[str] | None:
    """Split a list of names at its commas.

    Parameters
    ----------
    text
        Names with commas between them, or None.
    option
        Option that the list was given to, for the message.

    Returns
    -------
    list or None
        Each name once, in order; None if `text` is None.

    Raises
    ------
    DataError
        If the list contains no name.
    """
    if text is None:
        return None
    stripped = [name.strip() for name in text.split(",")]
    unique = list(dict.fromkeys(name for name in stripped if name))
    if not unique:
        raise DataError(f"{option} {text!r}: names nothing; give names with commas between them.")
    return unique


def read_config(
    path: Path | None, preset: Preset | None = None, genes: int | None = None, seed: int | None = None
) -> Config:
    """Read the settings; options of the command line take precedence over the file.

    Parameters
    ----------
    path
        TOML file, or None for the default settings.
    preset
        Size of the network; cannot be combined with a file.
    genes
        Number of genes to predict.
    seed
        Seed of all random numbers.

    Raises
    ------
    ModelError
        If the file cannot be used, or if both a file and a preset are given.
    """
    from pixnet.config import Config

    if path is not None and preset is not None:
        raise ModelError(f"--preset {preset} with --config {path}: write preset = {preset.value!r} into the file.")
    config = Config.of({"preset": preset.value}) if preset is not None else Config.read(path)
    if genes is not None:
        panel = config.genes.model_copy(update={"number": genes, "names": ()})
        config = config.model_copy(update={"genes": panel})
    if seed is not None:
        config = config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
    return config
