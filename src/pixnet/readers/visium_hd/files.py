"""The files of Visium HD in Space Ranger's output: bins, segmented cells, scale factors, matrices, and the image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pixnet.errors import DataError
from pixnet.readers.common import is_pipeline_folder
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.tenx_spatial import SCALEFACTOR_FILES, find_image, read_scalefactors
from pixnet.slide.pixel_size import AGREES, PixelSize

MATRICES: Mapping[bool, tuple[str, ...]] = {
    True: ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix"),
    False: ("raw_feature_bc_matrix.h5", "raw_feature_bc_matrix"),
}
DEFAULT_BIN_UM = 8.0
_SQUARE = re.compile(r"(?:.*_)?square_(\d+)um")


def bin_folders(path: Path) -> dict[float, Path]:
    """Find the folders of binned outputs that have a matrix.

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
    matrices = [name for names in MATRICES.values() for name in names]
    square = _SQUARE.fullmatch(path.name) or _SQUARE.fullmatch(path.resolve().name)
    if square and find_file(path, matrices):
        return {float(square[1]): path}
    for place in (path, path / "binned_outputs", path / "outs" / "binned_outputs"):
        try:
            children = sorted(child for child in place.iterdir() if child.is_dir()) if place.is_dir() else []
        except OSError as error:
            raise DataError(f"{place}: the folder cannot be read ({error.strerror or error}).") from error
        sizes = {float(match[1]): child for child in children if (match := _SQUARE.fullmatch(child.name))}
        sizes = {size: child for size, child in sizes.items() if size > 0 and find_file(child, matrices)}
        if sizes:
            return sizes
    finding = "folder square_XXXum with a matrix not found" if path.is_dir() else "is not a folder"
    raise DataError(
        f"{path}: {finding}. Give Space Ranger's `outs`, its `binned_outputs`, or one folder such as square_008um."
    )


def read_spatial(folder: Path, size: float | None = None) -> tuple[Path, dict[str, float]]:
    """Return the folder `spatial` of one output and its scale factors.

    Parameters
    ----------
    folder
        Folder of the output.
    size
        Size of its bins in um, to check; None if it has no bins.

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
            f"{file}: states that bins are {stated:g} um wide, but the folder is called {folder.name}. "
            "Give the folder its original name."
        )
    return spatial, factors


def choose_matrix(folder: Path, names: Mapping[bool, tuple[str, ...]], filtered: bool | None) -> tuple[Path, bool]:
    """Find the filtered or the raw matrix of a folder.

    Parameters
    ----------
    folder
        Folder of the output.
    names
        Names of the filtered (True) and the raw (False) matrix.
    filtered
        Which of them; None for the filtered one, or the raw one if there is no other.

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
    alternative = "" if filtered is None else ", or leave out `filtered`"
    raise DataError(f"{folder}: {wanted} not found. Copy it there{alternative}.")


def pixel_size(
    spatial: Path, factors: Mapping[str, float], given: PixelSize | None, measured: float | None = None
) -> PixelSize | None:
    """Return the given pixel size, or else the one of the scale factors, or else the measured one.

    Parameters
    ----------
    spatial
        Folder of the scale factors, for messages.
    factors
        The scale factors.
    given
        Pixel size that the caller gives.
    measured
        um per pixel that follow from the pitch of the bins, if it is known.

    Returns
    -------
    PixelSize
        None if nothing is known.

    Raises
    ------
    DataError
        If two of them differ by over 5 %.
    """
    size = given
    if size is None and "microns_per_pixel" in factors:
        size = PixelSize(factors["microns_per_pixel"], "microns_per_pixel")
    if size is None:
        return None if measured is None else PixelSize(measured, "bin pitch")
    known = {"the scale factors state": factors.get("microns_per_pixel"), "the pitch of the bins means": measured}
    for origin, value in known.items():
        if value is not None and not abs(size.mpp - value) <= AGREES * value:
            raise DataError(
                f"{spatial}: {origin} {value:.4g} um per pixel, but {size.mpp:.4g} was given ({size.source}). "
                "Give the pixel size of the image that the positions refer to as `mpp`."
            )
    return size


def full_resolution_image(path: Path, folder: Path, image: str | Path | None) -> Path:
    """Return the image that the positions refer to: the given one, or the one beside the output.

    Parameters
    ----------
    path
        The sample's folder as the user gave it.
    folder
        The folder in it that is read.
    image
        The given image.

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
    while is_pipeline_folder(places[-1].resolve().name) and len(places) < 4:
        places.append(places[-1].resolve().parent)
    found = find_image([place for top in places for place in (top, top / "spatial")], folder / "spatial")
    if found is None:
        raise DataError(
            f"{path}: full-resolution image not found; Space Ranger does not copy it. Give the H&E image that it was "
            "run on as `image`; tissue_hires_image.png is too coarse."
        )
    return found


def omitted_regions(counts: Mapping[str, int], remaining: int) -> list[str]:
    """Return a note on the regions that were left out.

    Parameters
    ----------
    counts
        What is wrong with regions to their number.
    remaining
        Number of regions that are left.
    """
    listed = ", ".join(f"{count} {problem}" for problem, count in counts.items() if count)
    return [f"{listed}; they are left out, {remaining} remain"] if listed else []


def omitted_features(others: Mapping[str, int]) -> list[str]:
    """Return notes on the features that are not genes, by kind, and were left out."""
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
        raise DataError(f"{folder}: {names[0]} not found. Copy the complete folder of Space Ranger's output.")
    return found
