"""Tell what a folder or file is from, and read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixnet.errors import DataError
from pixnet.readers.platforms import PLATFORMS
from pixnet.sample import Sample
from pixnet.slide.formats import SUFFIXES

_MOST_LOOKED_AT, _MOST_ABOVE = 100, 3
_MATRICES = ("*feature_bc_matrix.h5", "*feature_bc_matrix")


def recognise(path: str | Path) -> tuple[str, str]:
    """Say which platform a path is from, by the files in it.

    Returns
    -------
    platform, why
        The platform's name as in a manifest, and what gave it away.

    Raises
    ------
    DataError
        If the path does not exist, or is nothing that is known.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    for platform, sign in _SIGNS.items():
        if why := sign(path):
            return platform, why
    what = "folder" if path.is_dir() else "file"
    raise DataError(f"{path}: this {what} is from none of the known platforms ({', '.join(PLATFORMS)}). {_hint(path)}")


def read(path: str | Path, platform: str | None = None, **options: Any) -> Sample:
    """Read a sample from whatever platform it is.

    Parameters
    ----------
    path
        A folder or file as the platform's software wrote it.
    platform
        What to take it for; by default what `recognise` says. `Sample.platform` tells what it was.
    **options
        What the platform's entry in a manifest may say: `image`, `id`, `donor`, `mpp` of all, and of some `bin_um`,
        `regions`, `swap_xy` and others; see `pixnet.readers.platforms`.

    Raises
    ------
    DataError
        If the platform is not known or does not take an option, or a file cannot be used.
    SlideError
        If the image cannot be read.
    """
    from pixnet.readers.manifest import entry_of

    path = Path(path)
    name = platform or recognise(path)[0]
    # A path is relative to where the caller is, an entry's to its manifest.
    table = {"id": telling_name(path), "path": path, **options, "platform": name}
    return entry_of(Path.cwd(), str(path), table, {}).read("argument")


def telling_name(path: Path) -> str:
    """Name a sample after its folder, past those that every run has; one of HEST after its table."""
    tables = list((path / "st").glob("*.h5ad"))
    if len(tables) == 1:
        return tables[0].stem
    for name in (path.resolve().name, *(parent.name for parent in path.resolve().parents)):
        if name and name not in ("outs", "binned_outputs", "segmented_outputs") and not name.startswith("square_"):
            return name.split(".")[0] or name
    return "sample"


def _hint(path: Path) -> str:
    """Say what may be meant by a path that is nothing known."""
    if path.suffix.lower() in SUFFIXES:
        return "It looks like an image: give the folder or table with the counts, and this as `image` (--image)."
    try:
        inside = sorted(path.iterdir())[:_MOST_LOOKED_AT] if path.is_dir() else []
    except OSError:
        inside = []
    for child in inside:
        if platform := next((name for name, sign in _SIGNS.items() if sign(child)), None):
            return f"In it, {child.name} is from {platform}: give that."
    for above in path.resolve().parents[:_MOST_ABOVE]:
        if platform := next((name for name, sign in _SIGNS.items() if sign(above)), None):
            return f"It is a part of {above}, which is from {platform}: give that."
    folder = _folder_of(path)
    for has, lacks in _PARTS:
        if (folder / has).exists():
            return f"It has {has}, but {lacks}: copy the whole folder."
    return "Legacy ST has no folder of its own: list its image, counts and spots in a manifest, or call read_legacy_st."


def _folder_of(path: Path) -> Path:
    return path / "outs" if (path / "outs").is_dir() else path


def _xenium(path: Path) -> str:
    return "it holds experiment.xenium" if (_folder_of(path) / "experiment.xenium").is_file() else ""


def _visium_hd(path: Path) -> str:
    folder = _folder_of(path)
    for name in ("binned_outputs", "segmented_outputs"):
        if (folder / name).is_dir() or path.name == name:
            return f"it has {name}"
    if path.name.startswith("square_") or (folder.is_dir() and any(folder.glob("square_*um"))):
        return "it has bins called square_...um"
    return ""


def _visium(path: Path) -> str:
    folder = _folder_of(path)
    spatial = folder / "spatial"
    if spatial.is_dir() and any(any(folder.glob(pattern)) for pattern in _MATRICES):
        return "it has a feature matrix beside spatial/"
    return ""


def _hest(path: Path) -> str:
    if (path / "st").is_dir() and (path / "wsis").is_dir():
        return "it has st/ and wsis/"
    if path.suffix == ".h5ad" and path.parent.name == "st":
        return "it is a table in a folder st/"
    if path.suffix == ".h5ad" and path.with_suffix(".json").is_file():
        return "metadata of the same name lie beside the table"
    return ""


def _spatialdata(path: Path) -> str:
    stored = any((path / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))
    if stored and (path / "tables").is_dir() and ((path / "images").is_dir() or (path / "shapes").is_dir()):
        return "it is a zarr store with tables and images or shapes"
    return ""


def _anndata(path: Path) -> str:
    if path.suffix == ".h5ad":
        return "it is an h5ad file"
    stored = any((path / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))
    return (
        "it is a zarr store with obs and var" if stored and (path / "obs").exists() and (path / "var").exists() else ""
    )


# What is left of a folder that was copied in part, and what it lacks then.
_PARTS = (
    ("spatial", "no feature matrix beside it (filtered_feature_bc_matrix.h5), as Visium has"),
    ("transcripts.parquet", "no experiment.xenium, as Xenium has"),
    ("cell_feature_matrix.h5", "no experiment.xenium, as Xenium has"),
    ("st", "no wsis/, as HEST has"),
)

# The more particular before the more general: an HD folder also has spatial/, a HEST table is also an AnnData.
_SIGNS: dict[str, Callable[[Path], str]] = {
    "xenium": _xenium,
    "visium-hd": _visium_hd,
    "visium": _visium,
    "hest": _hest,
    "spatialdata": _spatialdata,
    "anndata": _anndata,
}
