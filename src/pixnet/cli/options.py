"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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


class Target(StrEnum):
    """Whose slides a model is for."""

    new_donor = "new-donor"
    same_donor = "same-donor"


class PolygonsFrame(StrEnum):
    """What the coordinates of outlines are counted in."""

    canvas = "canvas"
    bounds = "bounds"
    um = "um"


DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto uses a GPU if there is one.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
ConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Settings of the network and of training.")
]
GenesOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of genes to predict.")]
PresetOption = Annotated[Preset | None, typer.Option(help="Size of the network; default: small.")]
TargetOption = Annotated[
    Target | None,
    typer.Option(help="Whose slides will be predicted: new-donor (default), or serial sections of the same-donor."),
]
EncoderOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Encoder of the network; `pixnet encoders` lists them.")
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Read the encoder's features, which `pixnet features` stored, from this folder."),
]
SeedOption = Annotated[int | None, typer.Option(min=0, metavar="N", help="Seed of all random numbers.")]
SamplesOption = Annotated[str | None, typer.Option(metavar="A,B", help="Ids of the samples to use; default: all.")]


def names(text: str | None, option: str) -> list[str] | None:
    """Split a list of names, given to an option, at its commas; return each name once, or None for None."""
    if text is None:
        return None
    stripped = [name.strip() for name in text.split(",")]
    unique = list(dict.fromkeys(name for name in stripped if name))
    if not unique:
        raise DataError(f"{option} {text!r}: names nothing; give names with commas between them.")
    return unique


def read_config(
    path: Path | None,
    preset: Preset | None,
    target: Target | None,
    genes: int | None,
    *,
    encoder: str | None = None,
    features: Path | None = None,
    **training: int | None,
) -> Config:
    """Read the settings, and find the encoder's weights, or `features` that take their place, before any data is read.

    Options of the command line that are given take precedence over the file.
    """
    from pixnet.config import Config
    from pixnet.network.encoders.sources import check_weights

    if path is not None and encoder is not None:
        raise ModelError(f"--encoder {encoder} with --config {path}: write it into [network.encoder] of the file.")
    if path is not None and preset is not None:
        raise ModelError(f"--preset {preset} with --config {path}: write preset = {preset.value!r} into the file.")
    chosen = {"preset": preset, "target": target}
    changes: dict[str, Any] = {name: value.value for name, value in chosen.items() if value is not None}
    if encoder is not None:
        changes["network"] = {"encoder": {"name": encoder}}
    config = Config.read(path, **changes)
    if genes is not None:
        panel = config.genes.model_copy(update={"number": genes, "names": ()})
        config = config.model_copy(update={"genes": panel})
    given = {key: value for key, value in training.items() if value is not None}
    if features is None:
        check_weights(config.network.encoder)
    else:
        from pixnet.features.store import stored_encoder

        stored_encoder(config.network, features)
    return config.model_copy(update={"training": config.training.model_copy(update=given)})


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table, of which the first is the header, as lines of text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip() for row in rows]
