"""Paths in a manifest as people write them, and whether the files of a sample belong to one section by their names."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.entry import Entry

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_FILES = ("counts", "path", "spots", "image")


def found_path(base: Path, key: str, value: Path) -> Path:
    """Return the path of a key, which starts at the folder `base`; it need not exist.

    Where only another spelling exists, that one is meant: with / for the backslashes of Windows, or with accents in
    one letter or two, as macOS writes them.
    """
    text = str(value)
    if _ADDRESS.match(text) and not _DRIVE.match(text):
        raise DataError(f"{key} is {text!r}, an address and not a file. Download it, and give its path.")
    if any(ord(letter) < 32 for letter in text):
        raise DataError(f"{key} is {text!r}: in double quotes a backslash has a meaning of its own. Use ' or /.")
    path = base / value.expanduser()
    if _exists(path):
        return path
    slashes = Path(text.replace("\\", "/")).expanduser()
    found = _in_other_letters(base, slashes)
    if found is not None:
        return found
    if os.sep == "/" and _DRIVE.match(text):
        raise DataError(f"{key} is {text!r}, a path of Windows. Give the path on this computer.")
    if os.sep == "/" and "\\" in text:
        raise DataError(f"{key} is {text!r}, which does not exist. Here folders are separated by / and not by \\.")
    return path


def _in_other_letters(base: Path, path: Path) -> Path | None:
    """Return the file or folder whose name has the same letters, however their accents are coded; None if none has."""
    found = Path(path.anchor) if path.is_absolute() else base
    path = path.with_name(path.name.strip() or path.name)
    for part in path.parts[1 if path.is_absolute() else 0 :]:
        if not _exists(found / part):
            wanted = unicodedata.normalize("NFC", part)
            children = found.iterdir() if not part.isascii() and found.is_dir() else iter(())
            part = next((child.name for child in children if unicodedata.normalize("NFC", child.name) == wanted), "")
            if not part:
                return None
        found /= part
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def warn_if_mixed(manifest: Path, entries: Sequence[Entry]) -> None:
    """Warn of samples whose files, by their names, belong to different samples of the manifest, and of repeated ones.

    The files of one key (`C2.tsv`, `C3.tsv`) differ in a part of their names. Where a path of another key has one of
    these parts, it must be that of the same sample.
    """
    paths = {key: [str(getattr(entry, key, None) or "") for entry in entries] for key in _FILES}
    mixed = []
    key, parts = next(((key, parts) for key in _FILES if (parts := _differing(paths[key]))), ("", None))
    for number, entry in enumerate(entries if parts else ()):
        for other in _FILES:
            named = [part for part in parts or () if _has_word(paths[other][number], part)]
            if parts and len(named) == 1 and named[0] != parts[number]:
                mixed.append(f"sample {entry.id!r} has {key} of {parts[number]!r} but {other} of {named[0]!r}")
    for place, entry in enumerate(entries):
        same = next((other for other in entries[:place] if _same_files(other, entry)), None)
        if same is not None:
            mixed.append(f"samples {same.id!r} and {entry.id!r} have the same files")
    if mixed:
        more = f" and {len(mixed) - 3} more" if len(mixed) > 3 else ""
        warnings.warn(f"{manifest}: {'; '.join(mixed[:3])}{more}. Check the paths.", PixNetWarning, stacklevel=3)


def _differing(paths: Sequence[str]) -> list[str] | None:
    """Return the part in which paths differ, without what all begin or end with; None if it tells no samples apart."""
    if len(paths) < 2 or not all(paths) or len(set(paths)) < len(paths):
        return None
    words = [re.findall(r"[^\W_]+|[\W_]", path) for path in paths]
    start = len(os.path.commonprefix(words))  # noqa: RUF071
    end = len(os.path.commonprefix([path[start:][::-1] for path in words]))  # noqa: RUF071
    parts = ["".join(path[start : len(path) - end]) for path in words]
    return parts if all(parts) else None


def _has_word(path: str, word: str) -> bool:
    return re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", path) is not None


def _same_files(one: Entry, other: Entry) -> bool:
    return type(one) is type(other) and one.model_copy(update={"id": other.id, "donor": other.donor}) == other
