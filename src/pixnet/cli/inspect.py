"""`pixnet inspect`: what a data set is, what is wrong with it, and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pixnet.cli.messages import name_options, option_names
from pixnet.cli.options import names
from pixnet.errors import DataError
from pixnet.safe.documents import parse_toml
from pixnet.safe.names import file_name


def inspect(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder or file written by a platform's software, or a manifest.")
    ],
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Full-resolution H&E image.")] = None,
    mpp: Annotated[float | None, typer.Option(metavar="X", help="Pixel size of the image, in um.")] = None,
    swap_xy: Annotated[bool, typer.Option("--swap-xy", help="Treat the first coordinate as y.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other key of a manifest's entry for the platform, such as bin_um=16; can be repeated.",
        ),
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="A,B", help="Ids of the manifest's samples to inspect; default: all.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Model whose training slides the slides are compared with.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for inspect.json, overlay.png and histograms.png.")
    ] = None,
) -> None:
    """Check a data set for problems before using it.

    The exit status is 0 if the data are good, 1 if they are usable with warnings, and 2 if they are not usable. Words
    in `backticks` are keys of a manifest; set them with the option of that name, or with --set KEY=VALUE.
    """
    keys = _manifest_keys(settings or [])
    if swap_xy:
        keys["swap_xy"] = True
    card = None
    if model is not None:
        from pixnet.model.card import read_card

        card = read_card(model)
    from pixnet.inspection import inspect as inspect_data

    inspected = inspect_data(path, image=image, mpp=mpp, samples=names(sample, "--sample"), card=card, **keys)
    options = option_names(context.command.params)
    for result in inspected:
        typer.echo(name_options(result.inspection.summary, options))
        if out is not None:
            from pixnet.inspection.report import write_report

            write_report(result, out / file_name(result.inspection.id) if path.suffix == ".toml" else out)
    if out is not None:
        typer.echo(f"Report: {out}")
    status = max(result.inspection.status for result in inspected)
    if status:
        raise typer.Exit(status)


def _manifest_keys(settings: Sequence[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` as in a manifest; a value that is not valid TOML is taken as text."""
    keys: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not key or not equals:
            raise DataError(f"--set {setting!r}: give a key and its value, such as --set bin_um=16.")
        if key in ("image", "mpp", "path", "samples", "card"):
            raise DataError(f"--set {setting!r}: {key} has an argument or option of its own; use that.")
        try:
            keys[key] = parse_toml(f"value = {value}")["value"]
        except ValueError:
            keys[key] = value
    return keys
