"""Recognise what platform a folder or file is from, and read it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pixnet.errors import DataError
from pixnet.readers.common import damage, outs_of, telling_name
from pixnet.readers.entry import Entry
from pixnet.readers.formats.kinds import kind_of_file
from pixnet.readers.manifest import entry_of
from pixnet.readers.platforms import PLATFORMS
from pixnet.safe.names import as_text
from pixnet.sample import Sample
from pixnet.slide.formats import SUFFIXES

_MOST_CHILDREN, _MOST_PARENTS = 100, 3  # that are tried for a hint


def recognise(path: str | Path) -> tuple[str, str]:
    """Recognise the platform of a folder or file by the files in it.

    Parameters
    ----------
    path
        A folder or file as the platform's software wrote it.

    Returns
    -------
    platform, why
        The platform's name as in a manifest, and what it was recognised by.

    Raises
    ------
    DataError
        If the path does not exist, or is from no known platform.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    for platform in PLATFORMS.values():
        if why := platform.sign(path):
            return platform.name, why
    kind = "folder" if path.is_dir() else "file"
    raise DataError(f"{path}: this {kind} is from none of the known platforms ({', '.join(PLATFORMS)}). {_hint(path)}")


def read(path: str | Path, platform: str | None = None, **options: Any) -> Sample:
    """Read a sample of any platform.

    Parameters
    ----------
    path
        A folder or file as the platform's software wrote it.
    platform
        Name of the platform; by default the one that `recognise` returns. It becomes `Sample.platform`.
    **options
        Keys of the platform's entry in a manifest: `image`, `id`, `donor` and `mpp` for all platforms, and for some
        `bin_um`, `regions`, `swap_xy` and others; see `pixnet.readers.platforms`.

    Raises
    ------
    DataError
        If the platform is not known or does not take an option, or a file cannot be used.
    SlideError
        If the image cannot be read.
    """
    path = Path(path)
    return entry_at(path, platform or recognise(path)[0], options).read("argument")


def entry_at(path: Path, platform: str, options: Mapping[str, Any]) -> Entry:
    """Return the entry that a manifest would have for a path; paths in `options` start at the working directory."""
    table = {"id": as_text(_sample_id(path)), "path": path, **options, "platform": platform}
    return entry_of(Path.cwd(), str(path), table, {})


def _sample_id(path: Path) -> str:
    """Name a sample of HEST by its table, others by the nearest telling folder or file, without the ending."""
    tables = list((path / "st").glob("*.h5ad"))
    if len(tables) == 1:
        return tables[0].stem
    name = telling_name(path)
    return name.split(".")[0] or name


def _platform_of(path: Path) -> str | None:
    return next((platform.name for platform in PLATFORMS.values() if platform.sign(path)), None)


def _other_kind(path: Path) -> str | None:
    """Return what else a file or folder is, in words, with the remedy if there is one; None if it is not known."""
    from pixnet.readers.anndata.source import kind_of_store, open_zarr
    from pixnet.readers.formats.hdf5 import open_hdf5

    if path.is_dir():
        if (path / "card.json").is_file():
            return "a model of PixNet, not a sample"
        names = sorted(child.name for child in islice(path.iterdir(), _MOST_CHILDREN))
        if any(name.lower().endswith(".dcm") for name in names):
            return "a folder of DICOM files: give the counts, and one of its files as `image`"
        if not {"zarr.json", ".zgroup"} & set(names):
            return None
        with suppress(DataError), damage("cannot be read"):
            root = open_zarr(path)
            return "a field of PixNet, not a sample" if "pixnet" in root.attrs else kind_of_store(root)
        return None
    if path.suffix.lower() in (".toml", ".json", ".csv", ".tsv", ".txt"):
        return "a manifest: call read_manifest" if path.suffix.lower() == ".toml" else None
    kind = kind_of_file(path)
    if kind == "an HDF5 file":
        with suppress(DataError), damage("cannot be read"), open_hdf5(path) as root:
            kind = kind_of_store(root) or kind
    return kind if kind is None or "image" not in kind else None


def _hint(path: Path) -> str:
    """Return what may be meant by a path that is from no known platform."""
    if path.suffix.lower() in SUFFIXES:
        return "It looks like an image: give the folder or table with the counts, and this as `image`."
    try:
        children = sorted(path.iterdir())[:_MOST_CHILDREN] if path.is_dir() else []
    except OSError:
        children = []
    for child in children:
        if platform := _platform_of(child):
            return f"In it, {child.name} is from {platform}: give that."
    for parent in path.resolve().parents[:_MOST_PARENTS]:
        if platform := _platform_of(parent):
            return f"It is a part of {parent}, which is from {platform}: give that."
    if kind := _other_kind(path):
        return f"It is {kind}."
    folder = outs_of(path)
    for known in PLATFORMS.values():
        for part, lacks in known.missing_part.items():
            if (folder / part).exists():
                return f"It has {part}, but {lacks}: copy the whole folder."
    return "Legacy ST has no folder of its own: list its image, counts and spots in a manifest, or call read_legacy_st."
