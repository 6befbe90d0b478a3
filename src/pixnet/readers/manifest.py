"""A TOML file that lists samples, so that one path stands for a data set.

Example::

    spot_diameter_um = 100.0

    [[sample]]
    id = "C2"
    donor = "C"
    platform = "legacy-st"
    image = "images/C2.jpg"
    counts = "counts/C2.tsv.gz"
    spots = "spots/C2_selection.tsv"
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixnet.errors import DataError
from pixnet.readers.legacy_st import read_legacy_st
from pixnet.sample import Sample

_Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ManifestEntry(BaseModel):
    """One sample of a manifest: where its files are and what the files do not say themselves.

    Attributes
    ----------
    id, donor, platform
        Name of the sample, the person it is from, and how it was measured.
    image, counts, spots
        Paths; relative ones start at the manifest's folder.
    spot_diameter_um, spot_pitch_um
        In um.
    mpp
        um per pixel of the image; None if the platform or the image tells it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    donor: str | None = None
    platform: str
    image: Path
    counts: Path
    spots: Path
    spot_diameter_um: _Length = 100.0
    spot_pitch_um: _Length = 200.0
    mpp: _Length | None = None


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    spot_diameter_um: _Length | None = None
    spot_pitch_um: _Length | None = None
    mpp: _Length | None = None
    sample: list[dict[str, Any]] = Field(min_length=1)


def _read_legacy_st(entry: ManifestEntry) -> Sample:
    return read_legacy_st(
        entry.image,
        entry.counts,
        entry.spots,
        id=entry.id,
        donor=entry.donor,
        spot_diameter_um=entry.spot_diameter_um,
        spot_pitch_um=entry.spot_pitch_um,
        mpp=entry.mpp,
        mpp_source="manifest",
    )


PLATFORMS: dict[str, Callable[[ManifestEntry], Sample]] = {"legacy-st": _read_legacy_st}
"""What reads each platform."""


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
        As `manifest_entries` and the platform's reader; also if an id is asked for that the manifest does not have.
    """
    entries = manifest_entries(path)
    return [PLATFORMS[entry.platform](entry) for entry in chosen_entries(path, entries, samples)]


def chosen_entries(
    path: str | Path, entries: Sequence[ManifestEntry], samples: Sequence[str] | None
) -> list[ManifestEntry]:
    """Give the entries with the ids `samples`, in that order; all if None.

    Raises
    ------
    DataError
        If there is no such id.
    """
    if samples is None:
        return list(entries)
    by_id = {entry.id: entry for entry in entries}
    unknown = [name for name in samples if name not in by_id]
    if unknown:
        raise DataError(f"{path}: has no sample {unknown[0]!r}. It has {', '.join(by_id)}.")
    return [by_id[name] for name in dict.fromkeys(samples)]


def manifest_entries(path: str | Path) -> list[ManifestEntry]:
    """List the samples of a manifest without reading their files.

    Raises
    ------
    DataError
        If the manifest is missing or no TOML, if a key is unknown or its value unfit, if a platform is unknown, or if
        two samples have the same id.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Give the path of a manifest.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: is no TOML file ({error}).") from error
    try:
        manifest = _Manifest.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {_explained(error, _Manifest)}") from error
    shared = manifest.model_dump(include={"spot_diameter_um", "spot_pitch_um", "mpp"}, exclude_none=True)
    entries: list[ManifestEntry] = []
    for number, table in enumerate(manifest.sample, start=1):
        try:
            entry = ManifestEntry.model_validate({**shared, **table})
        except ValidationError as error:
            name = f"sample {table['id']!r}" if isinstance(table.get("id"), str) else f"sample {number}"
            raise DataError(f"{path}: {name}: {_explained(error, ManifestEntry)}") from error
        _check_entry(path, entry, entries)
        base = path.parent
        files = {key: base / getattr(entry, key) for key in ("image", "counts", "spots")}
        entries.append(entry.model_copy(update=files))
    return entries


def _check_entry(path: Path, entry: ManifestEntry, before: Sequence[ManifestEntry]) -> None:
    ids = [other.id for other in before]
    if entry.id in ids:
        raise DataError(f"{path}: two samples have the id {entry.id!r}. Give each its own; there are {', '.join(ids)}.")
    if entry.platform not in PLATFORMS:
        near = difflib.get_close_matches(entry.platform, PLATFORMS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"{path}: sample {entry.id!r} has the platform {entry.platform!r}, which is not among "
            f"{', '.join(PLATFORMS)}.{hint}"
        )


def _explained(error: ValidationError, model: type[BaseModel]) -> str:
    """Put the first thing that pydantic found into a sentence."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    keys = list(model.model_fields)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
        return f"unknown key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(keys)}.")
    if first["type"] == "missing":
        present = "; add a table [[sample]] for each sample." if key == "sample" else "; add it."
        return f"the key {key!r} is missing{present}"
    return f"{key} = {first['input']!r} will not do: {first['msg'][:1].lower()}{first['msg'][1:]}."
