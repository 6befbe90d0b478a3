"""`pixnet inspect`: what a data set is, what is wrong with it, and how to mend it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pixnet.cli.options import names
from pixnet.errors import DataError


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder or file as a platform's software wrote it, or a manifest.")
    ],
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="The full-resolution H&E image.")] = None,
    mpp: Annotated[float | None, typer.Option(metavar="X", help="um per pixel of the image.")] = None,
    swap_xy: Annotated[bool, typer.Option("--swap-xy", help="Take the first coordinate for y.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other key of the platform's entry in a manifest, such as bin_um=16; may be repeated.",
        ),
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="A,B", help="Ids of a manifest's samples; all by default.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Model whose training slides to compare the slides with.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to put inspect.json, overlay.png and histograms.png.")
    ] = None,
) -> None:
    """Check data before they are used: exit status 0 is good, 1 usable with warnings, 2 not usable.

    Words in `backticks` are keys of a manifest; what stands behind them is the option of this command.
    """
    options = _options(settings or [])
    if swap_xy:
        options["swap_xy"] = True
    card = None
    if model is not None:
        from pixnet.model.card import read_card

        card = read_card(model)
    from pixnet.inspection import inspect as look

    found = look(path, image=image, mpp=mpp, samples=names(sample, "--sample"), card=card, **options)
    for each in found:
        typer.echo(each.inspection.summary)
        if out is not None:
            from pixnet.inspection.report import write_report

            write_report(each, out / each.inspection.id if path.suffix == ".toml" else out)
    if out is not None:
        typer.echo(f"Report: {out}")
    status = max(each.inspection.status for each in found)
    if status:
        raise typer.Exit(status)


def _options(settings: Sequence[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` as a manifest would; what is no value of TOML is taken as text.

    Raises
    ------
    DataError
        If there is no key, or one that is an option of its own.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not key or not equals:
            raise DataError(f"--set {setting!r}: give a key and its value, such as --set bin_um=16.")
        if key in ("image", "mpp", "path", "samples", "card"):
            raise DataError(f"--set {setting!r}: there is an argument or option for that of its own.")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found
