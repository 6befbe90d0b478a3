"""The files of Visium HD in Space Ranger's output: bins, segmented cells, scale factors, matrices, and the image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pixnet.errors import DataError
from pixnet.readers.common import agreed_pixel_size, is_pipeline_folder
from pixnet.readers.formats.files import find_file, packed_file, required_file
from pixnet.readers.formats.names import MATRICES, SCALEFACTOR_FILES, MatrixNames, find_matrix
from pixnet.readers.formats.tenx_spatial import read_scalefactors, required_image
from pixnet.slide.pixel_size import PixelSize

DEFAULT_BIN_UM = 8.0
_PACKED_FOLDERS = ("binned_outputs", "square_008um", "square_016um", "square_002um")
_SQUARE = re.compile(r"(?:.*_)?square_(\d+)um")


def bin_folders(path: Path) -> dict[float, Path]:
    """Find the folders `square_XXXum` with a matrix in a path, or the path itself, by their size in um."""
    matrices = [name for names in MATRICES.values() for name in names]
    square = _SQUARE.fullmatch(path.name) or _SQUARE.fullmatch(path.resolve().name)
    if square and find_file(path, matrices):
        return {float(square[1]): path}
    places = [outs / name for outs in (path, path / "outs") for name in ("", "binned_outputs")]
    for place in places:
        try:
            children = sorted(child for child in place.iterdir() if child.is_dir()) if place.is_dir() else []
        except OSError as error:
            raise DataError(f"{place}: the folder cannot be read ({error.strerror or error}).") from error
        sizes = {float(match[1]): child for child in children if (match := _SQUARE.fullmatch(child.name))}
        sizes = {size: child for size, child in sizes.items() if size > 0 and find_file(child, matrices)}
        if sizes:
            return sizes
    if packed := next((file for place in places if (file := packed_file(place, _PACKED_FOLDERS))), None):
        raise DataError(f"{packed}: is packed. Unpack it there.")
    finding = "folder square_XXXum with a matrix not found" if path.is_dir() else "is not a folder"
    raise DataError(
        f"{path}: {finding}. Give Space Ranger's `outs`, its `binned_outputs`, or one folder such as square_008um."
    )


def read_spatial(folder: Path, size: float | None = None) -> tuple[Path, dict[str, float]]:
    """Return the folder `spatial` of one output and its scale factors, whose bins must be `size` um wide if given."""
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


def choose_matrix(folder: Path, filtered: bool | None, names: MatrixNames = MATRICES) -> tuple[Path, bool]:
    """Return the filtered or the raw matrix of a folder, as `find_matrix` does; it is an error if it is not there."""
    found = find_matrix(folder, filtered, names)
    if found is not None:
        return found
    wanted = names[True if filtered is None else filtered][0]
    alternative = "" if filtered is None else ", or leave out `filtered`"
    raise DataError(f"{folder}: {wanted} not found. Copy it there{alternative}.")


def pixel_size(
    spatial: Path, factors: Mapping[str, float], given: PixelSize | None, measured: float | None = None
) -> PixelSize | None:
    """Return the given pixel size, or else the one of the scale factors, or else the one by the pitch of the bins.

    Two of them that differ by over 5 % are an error, and None is returned if nothing is known.
    """
    size = given
    for source, origin, value in (
        ("microns_per_pixel", "the scale factors state", factors.get("microns_per_pixel")),
        ("bin pitch", "the pitch of the bins means", measured),
    ):
        if value is not None:
            reason = f"{spatial}: {origin} {value:.4g} um per pixel"
            remedy = "Give the pixel size of the image that the positions refer to as `mpp`."
            size = agreed_pixel_size(size, PixelSize(value, source), reason, remedy)
    return size


def full_resolution_image(path: Path, folder: Path, image: str | Path | None) -> Path:
    """Return the image that the positions refer to: the given one, or the one beside the output.

    `path` is the sample's folder as the user gave it, and `folder` the one in it that is read.
    """
    if image is not None:
        return Path(image)
    # Up from square_XXXum to the folder that holds `outs`, and no further than that or what was given.
    places = [folder]
    while places[-1] != path and len(places) < 4:
        places.append(places[-1].parent)
    while is_pipeline_folder(places[-1].resolve().name) and len(places) < 4:
        places.append(places[-1].resolve().parent)
    return required_image(path, [place for top in places for place in (top, top / "spatial")], folder / "spatial")


def omitted_features(others: Mapping[str, int]) -> list[str]:
    """Return notes on the features that are not genes, by kind, and were left out."""
    return [f"{count} features of the kind {kind!r} are left out" for kind, count in others.items()]
