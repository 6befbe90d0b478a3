"""A manifest: a TOML file that lists the samples of a data set.

Example::

    spot_diameter_um = 100.0

    [[sample]]
    id = "C2"
    donor = "C"
    platform = "legacy-st"
    image = "images/C2.jpg"
    counts = "counts/C2.tsv.gz"
    spots = "spots/C2_selection.tsv"

    [[sample]]
    id = "colon"
    platform = "visium-hd"
    path = "colon/outs"
    image = "colon/tissue.btf"
    bin_um = 16

The entries in `pixnet.readers.platforms` define the keys of each platform.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixnet.errors import DataError, first_line
from pixnet.readers.common import errors_of
from pixnet.readers.entry import Entry, Length
from pixnet.readers.formats.encoding import decoded
from pixnet.readers.manifest_paths import found_path, warn_if_mixed
from pixnet.readers.platforms import PLATFORMS
from pixnet.safe.documents import parse_toml, read_bytes
from pixnet.sample import Sample

_BACKSLASH = re.compile(r'=\s*"[^"\n]*\\[^"\n]*"')
_KEY = r"^\s*[A-Za-z_]+\s*"
_HINTS = tuple(
    (re.compile(pattern, re.MULTILINE), hint)
    for pattern, hint in (
        (r"[\u2018-\u201f\u00ab\u00bb]", 'Quotes must be plain ones (") and not typographic ones.'),
        (rf"{_KEY}:\s", "Between a key and its value stands =, not a colon."),
        (rf"{_KEY}=\s*(?:True|False)\b", "true and false are written in small letters."),
        (rf"{_KEY}=\s*\d+,\d+\s*$", "Decimals are written with a point, 0.5."),
        (rf"{_KEY}=\s*[A-Za-z./~][^\s\"]*", 'Texts and paths stand in quotes: image = "he.tif".'),
    )
)
"""What may be wrong in a text that is no TOML, and how it is written."""


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    spot_diameter_um: Length | None = None
    spot_pitch_um: Length | None = None
    mpp: Length | None = None
    sample: list[dict[str, Any]] = Field(min_length=1)


def read_manifest(path: str | Path, samples: Sequence[str] | None = None) -> list[Sample]:
    """Read the samples of a manifest.

    Parameters
    ----------
    path
        TOML file.
    samples
        Ids of the samples to read, in this order; all of them if None.

    Raises
    ------
    DataError
        As in `manifest_entries` and the platform's reader; also if the manifest does not have one of the ids.
    """
    entries = manifest_entries(path)
    return [entry.read() for entry in chosen_entries(path, entries, samples)]


def chosen_entries(path: str | Path, entries: Sequence[Entry], samples: Sequence[str] | None) -> list[Entry]:
    """Return the entries with the ids `samples`, in that order, or all if None; errors name the manifest `path`."""
    if samples is None:
        return list(entries)
    by_id = {entry.id: entry for entry in entries}
    unknown = [name for name in samples if name not in by_id]
    if unknown:
        raise DataError(f"{path}: has no sample {unknown[0]!r}; its samples are {', '.join(by_id)}.")
    return [by_id[name] for name in dict.fromkeys(samples)]


def manifest_entries(path: str | Path) -> list[Entry]:
    """List the samples of a manifest without reading their files; a `DataError` names a key that is not valid."""
    path = Path(path)
    content = _content(path)
    try:
        manifest = _Manifest.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {_explained(error, _Manifest)}") from error
    shared = manifest.model_dump(include={"spot_diameter_um", "spot_pitch_um", "mpp"}, exclude_none=True)
    entries: list[Entry] = []
    for number, table in enumerate(manifest.sample, start=1):
        name = f"sample {table['id']!r}" if isinstance(table.get("id"), str) else f"sample {number}"
        entry = entry_of(path.parent, f"{path}: {name}", table, shared)
        ids = [other.id for other in entries]
        if entry.id in ids:
            raise DataError(
                f"{path}: two samples have the id {entry.id!r}. Give each its own id; those before it are "
                f"{', '.join(ids)}."
            )
        entries.append(entry)
    warn_if_mixed(path, entries)
    return entries


def _content(path: Path) -> dict[str, Any]:
    """Parse a manifest, in any encoding that names itself; errors say what to write instead."""
    try:
        text = decoded(path, read_bytes(path, DataError))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file. Give the path of a manifest.") from error
    try:
        content = parse_toml(text)
    except ValueError as error:
        raise DataError(f"{path}: is not a TOML file ({first_line(error)}). {_toml_hint(text)}".rstrip()) from error
    if isinstance(content.get("sample"), dict):
        raise DataError(
            f"{path}: has [sample] in single brackets. Write [[sample]], in double brackets, above each sample."
        )
    return content


def _toml_hint(text: str) -> str:
    """Return what is probably wrong with a text that is no TOML."""
    if _BACKSLASH.search(text):
        return (
            "In double quotes a backslash has a meaning of its own: write paths of Windows in single quotes, "
            r"'C:\folder\image.tif', or with /."
        )
    if text.lstrip().startswith(("{", "sample:", "- ", "---")):
        return 'It looks like JSON or YAML; a manifest has [[sample]] above each sample, and lines such as id = "A".'
    return next((hint for pattern, hint in _HINTS if pattern.search(text)), "")


def entry_of(base: Path, name: str, table: dict[str, Any], shared: dict[str, Any]) -> Entry:
    """Check the keys of one sample, called `name` in errors, and return its entry.

    Relative paths start at the folder `base`. Keys in `shared` that the platform does not have are ignored.
    """
    platform = table.get("platform")
    if platform is None:
        raise DataError(f"{name}: the key 'platform' is missing; give one of {', '.join(PLATFORMS)}.")
    if platform not in PLATFORMS:
        near = difflib.get_close_matches(str(platform).lower().replace("_", "-"), PLATFORMS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{name} has the platform {platform!r}, which is not among {', '.join(PLATFORMS)}.{hint}")
    model = PLATFORMS[platform].entry
    known = {key: value for key, value in shared.items() if key in model.model_fields}
    try:
        entry = model.model_validate({**known, **table})
    except ValidationError as error:
        raise DataError(f"{name}: {_explained(error, model)}") from error
    with errors_of(name):
        paths = {key: found_path(base, key, value) for key, value in entry if isinstance(value, Path)}
    return entry.model_copy(update=paths)


def _explained(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first of pydantic's findings as a sentence."""
    # A misspelt key is also reported as a missing one; the report of the unknown key is more useful.
    first = min(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    # For a value that may be of several types, pydantic reports what each would need.
    same_key = [finding for finding in error.errors() if finding["loc"][:1] == first["loc"][:1]]
    several = len(same_key) > 1 and len(first["loc"]) > 1 and first["loc"][0] != "sample"
    key = str(first["loc"][0]) if several else ".".join(str(part) for part in first["loc"])
    keys = list(model.model_fields)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
        return f"unknown key {key!r}; " + (
            f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(keys)}."
        )
    if first["type"] == "missing":
        remedy = "add a table [[sample]] for each sample" if key == "sample" else "add it"
        return f"the key {key!r} is missing; {remedy}."
    if first["type"] == "string_type" and isinstance(first["input"], int | float):
        return f'{key} = {first["input"]!r} is a number; write texts in quotes, {key} = "{first["input"]}".'
    messages = [finding["msg"] for finding in (same_key if several else [first])]
    reasons = dict.fromkeys(f"{message[:1].lower()}{message[1:]}" for message in messages)
    return f"{key} = {first['input']!r} is not valid: {', or '.join(reasons)}."
