"""Where Space Ranger puts what belongs to Visium HD: bins, segmented cells, scale factors, matrices; and the image."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.tenx_spatial import SCALEFACTOR_FILES, find_image, read_scalefactors
from pixnet.slide.pixel_size import AGREES

MATRICES: Mapping[bool, tuple[str, ...]] = {
    True: ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix"),
    False: ("raw_feature_bc_matrix.h5", "raw_feature_bc_matrix"),
}
DEFAULT_BIN_UM = 8.0
_SQUARE = re.compile(r"(?:.*_)?square_(\d+)um")
_UNTELLING = re.compile(r"outs|binned_outputs|segmented_outputs|(?:.*_)?square_\d+um")


def bin_folders(path: Path) -> dict[float, Path]:
    """Find the folders of binned outputs that hold a matrix.

    Parameters
    ----------
    path
        `outs`, the folder that holds it, `binned_outputs`, or one folder `square_XXXum`.

    Returns
    -------
    dict
        Size in um to folder.

    Raises
    ------
    DataError
        If there is none.
    """
    every = [name for names in MATRICES.values() for name in names]
    own = _SQUARE.fullmatch(path.name) or _SQUARE.fullmatch(path.resolve().name)
    if own and find_file(path, every):
        return {float(own[1]): path}
    for place in (path, path / "binned_outputs", path / "outs" / "binned_outputs"):
        try:
            inside = sorted(child for child in place.iterdir() if child.is_dir()) if place.is_dir() else []
        except OSError as error:
            raise DataError(f"{place}: the folder cannot be read ({error.strerror or error}).") from error
        found = {float(match[1]): child for child in inside if (match := _SQUARE.fullmatch(child.name))}
        found = {size: child for size, child in found.items() if size > 0 and find_file(child, every)}
        if found:
            return found
    reason = "holds no folder square_XXXum with a matrix" if path.is_dir() else "is no folder"
    raise DataError(
        f"{path}: {reason}. Give Space Ranger's `outs`, its `binned_outputs`, or one folder such as square_008um."
    )


def read_spatial(folder: Path, size: float | None = None) -> tuple[Path, dict[str, float]]:
    """Give the folder `spatial` of one output, and its scale factors; check the size of its bins, if it has any.

    Raises
    ------
    DataError
        If there are no scale factors, or if their bins are not of that size.
    """
    spatial = folder / "spatial"
    file = required_file(spatial, SCALEFACTOR_FILES)
    factors = read_scalefactors(file)
    stated = factors.get("bin_size_um", size)
    if size is not None and stated is not None and abs(stated - size) > 1e-6 * size:
        raise DataError(
            f"{file}: says that bins are {stated:g} um wide, but the folder is called {folder.name}. "
            "Put it back under its own name."
        )
    return spatial, factors


def choose_matrix(folder: Path, names: Mapping[bool, tuple[str, ...]], filtered: bool | None) -> tuple[Path, bool]:
    """Find the filtered or the raw matrix of a folder; either if `filtered` is None, preferably the first.

    Returns
    -------
    path, filtered
        The file or folder, and which of the two it is.

    Raises
    ------
    DataError
        If it is not there.
    """
    for kind in (True, False) if filtered is None else (filtered,):
        found = find_file(folder, names[kind])
        if found is not None:
            return found, kind
    wanted = names[True if filtered is None else filtered][0]
    instead = "" if filtered is None else ", or leave out `filtered` (--set filtered=...)"
    raise DataError(f"{folder}: holds no {wanted}. Copy it there{instead}.")


def pixel_size(
    spatial: Path, factors: Mapping[str, float], mpp: float | None, source: str | None, measured: float | None = None
) -> tuple[float | None, str | None]:
    """Settle the pixel size: the caller's, else the scale factors', else the measured one.

    Parameters
    ----------
    spatial
        Where the scale factors are from, for messages.
    factors
        The scale factors.
    mpp, source
        um per pixel that the caller gives, and where it is from.
    measured
        um per pixel that the pitch of the bins means, if it is known.

    Returns
    -------
    mpp, source
        None if nothing is known.

    Raises
    ------
    DataError
        If two of them differ by over 5 %.
    """
    known = {"the scale factors say": factors.get("microns_per_pixel"), "the pitch of the bins means": measured}
    if mpp is not None:
        size, source = mpp, source or "argument"
    elif "microns_per_pixel" in factors:
        size, source = factors["microns_per_pixel"], "microns_per_pixel"
    else:
        return measured, None if measured is None else "bin pitch"
    for what, value in known.items():
        if value is not None and not abs(size - value) <= AGREES * value:
            raise DataError(
                f"{spatial}: {what} {value:.4g} um per pixel, but {size:.4g} was given ({source}). "
                "Give that of the image that the positions refer to as `mpp` (--mpp)."
            )
    return size, source


def full_resolution_image(path: Path, folder: Path, image: str | Path | None) -> Path:
    """Give the image that the positions refer to: the one given, or the one beside the output.

    Parameters
    ----------
    path
        What the user gave as the sample's folder.
    folder
        The one folder of outputs that is read, somewhere in it.

    Raises
    ------
    DataError
        If there is none, or several.
    """
    if image is not None:
        return Path(image)
    # Up from square_XXXum to the folder that holds `outs`, and no further than that or what was given.
    places = [folder]
    while places[-1] != path and len(places) < 4:
        places.append(places[-1].parent)
    while _UNTELLING.fullmatch(places[-1].resolve().name) and len(places) < 4:
        places.append(places[-1].resolve().parent)
    found = find_image([place for top in places for place in (top, top / "spatial")], folder / "spatial")
    if found is None:
        raise DataError(
            f"{path}: has no full-resolution image beside it, which Space Ranger does not copy. Give the H&E image "
            "that it was run on as `image` (--image); tissue_hires_image.png is too coarse."
        )
    return found


def telling_name(path: Path) -> str:
    """Name a sample by the nearest folder whose name is not Space Ranger's own."""
    place = path.resolve()
    while _UNTELLING.fullmatch(place.name):
        place = place.parent
    return place.name or "visium-hd"


def tell(name: str, told: Sequence[str], stacklevel: int) -> None:
    """Warn once of all that was left out or put right while a sample was read."""
    if told:
        warnings.warn(f"sample {name!r}: {'; '.join(told)}.", PixNetWarning, stacklevel=stacklevel)


def others_told(others: Mapping[str, int]) -> list[str]:
    """Say which features that are no genes were left out."""
    return [f"{count} features of the kind {kind!r} are left out" for kind, count in others.items()]


def required_file(folder: Path, names: Sequence[str]) -> Path:
    """Find a file that has one of the names, with any prefix before it.

    Raises
    ------
    DataError
        If it is not there.
    """
    found = find_file(folder, names)
    if found is None:
        raise DataError(f"{folder}: holds no {names[0]}. Copy the whole folder of Space Ranger's output.")
    return found
