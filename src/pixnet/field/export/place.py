"""The place of an export: what may be there before, and how the new one gets there whole."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixnet.errors import FieldError
from pixnet.field.store import KEY


@contextmanager
def beside(out: Path, source: Path, *, folder: bool, overwrite: bool) -> Iterator[Path]:
    """Give a path beside a place to write to; what is there at the end is moved into the place.

    Parameters
    ----------
    out
        The place.
    source
        The field's folder, which is never written into.
    folder
        Whether a folder is to be written, or a file.
    overwrite
        Whether a file, or a Zarr store that is not a field, may be replaced.

    Raises
    ------
    FieldError
        If something is there that is not to be replaced, or if the place cannot be written.
    """
    _check_place(out, source, folder, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
            partial = Path(temporary) / out.name
            yield partial
            _move(partial, out, Path(temporary) / "old")
    except OSError as error:
        raise FieldError(f"{out} cannot be written ({error.strerror or error}). Mend that and export again.") from error


def _check_place(out: Path, source: Path, folder: bool, overwrite: bool) -> None:
    place, field = out.resolve(), source.resolve()
    if place == field or field in place.parents or place in field.parents:
        raise FieldError(f"{out} is the field itself, or a part of it, or holds it. Give another place.")
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise FieldError(f"{out} exists already. Give another place, or ask to overwrite it.")
    if out.is_dir() != folder:
        raise FieldError(f"{out} is a {'file' if folder else 'folder'}, so it is not overwritten. Give another place.")
    if folder and not _is_zarr_but_no_field(out):
        raise FieldError(f"{out} is not an export (a Zarr store), so it is not overwritten. Give another place.")


def _is_zarr_but_no_field(path: Path) -> bool:
    if not any(path.iterdir()):
        return True
    try:
        content = json.loads((path / "zarr.json").read_text())
        return content["zarr_format"] == 3 and KEY not in content.get("attributes", {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _move(new: Path, out: Path, old: Path) -> None:
    """Put the new one in its place; a folder that is there goes back if that fails."""
    if not out.is_dir():
        os.replace(new, out)
        return
    os.replace(out, old)
    try:
        os.replace(new, out)
    except OSError:
        os.replace(old, out)
        raise
