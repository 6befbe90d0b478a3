"""Options that several verbs share."""

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


DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU where there is one.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
ConfigOption = Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Settings of network and training.")]
GenesOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="How many genes to predict.")]
PresetOption = Annotated[Preset | None, typer.Option(help="Size of the network; small by default.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Everything random follows from it.")]
SamplesOption = Annotated[str | None, typer.Option(metavar="A,B", help="Ids of the samples to use; all by default.")]


def names(text: str | None, option: str) -> list[str] | None:
    """Split a list of names at its commas; None stays None.

    Raises
    ------
    DataError
        If the list holds no name.
    """
    if text is None:
        return None
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise DataError(f"{option} {text!r}: names nothing; give names with commas between them.")
    return list(dict.fromkeys(found))


def read_config(
    path: Path | None, preset: Preset | None = None, genes: int | None = None, seed: int | None = None
) -> Config:
    """Read settings; what the command line says comes before what the file says.

    Raises
    ------
    ModelError
        If the file cannot be used, or if a preset is given beside it.
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
