"""Visium: what Space Ranger 1 to 4 writes of a capture area with 55-um spots.

No file states a pixel size. As with the older arrays it follows from the pitch: spots are printed 100 um apart.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.formats.find_file import find_file
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.formats.pitch import pitch_in_pixels
from pixnet.readers.formats.tenx_matrix import TenXMatrix, read_tenx_matrix
from pixnet.readers.formats.tenx_spatial import (
    POSITION_FILES,
    SCALEFACTOR_FILES,
    check_image_scale,
    find_image,
    read_positions,
    read_scalefactors,
)
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import merge_genes
from pixnet.slide import Slide
from pixnet.slide.pixel_size import AGREES

SPOT_UM, PITCH_UM = 55.0, 100.0
# Space Ranger documents spot_diameter_fullres as the diameter of a "theoretical 65-um spot", and real files agree with
# that; other programs write 55 um there. So it is no measure of a pixel, only a last resort and a coarse check.
_DRAWN_SPOT_UM = 65.0
_AXES_AGREE = 0.02


@dataclass(frozen=True)
class _Folder:
    """Where the files of a capture area are; `filtered` is None where the matrix's name does not tell."""

    outs: Path
    spatial: Path
    positions: Path
    matrix: Path
    filtered: bool | None


def read_visium(
    path: str | Path,
    *,
    image: str | Path | None = None,
    id: str | None = None,
    donor: str | None = None,
    mpp: float | None = None,
    mpp_source: str | None = None,
    filtered: bool | None = None,
    image_transform: GivenTransform = None,
) -> Sample:
    """Read a capture area of Visium.

    Parameters
    ----------
    path
        Space Ranger's `outs/`, the folder that holds it, or a folder with the matrix (HDF5 or Matrix Market) beside
        `spatial/`. File names may have any prefix.
    image
        Full-resolution H&E image, the one that Space Ranger was run on. By default it is looked for in `outs/`,
        `outs/spatial/` and beside `outs/`.
    id
        Name of the sample; by default that of the folder.
    donor
        The person that the tissue is from.
    mpp
        um per pixel of the image. By default it follows from the pitch of the spots.
    mpp_source
        Where `mpp` is from, if not from an argument.
    filtered
        True: the filtered matrix. False: the raw one, with the spots beside the tissue. None: the filtered matrix, or
        of the raw one the spots under tissue.
    image_transform
        Where `image` is not the one that the positions were written for: CSV file of, or array with, the (3, 3) matrix
        from pixels of that one to pixels of `image`. It turns, scales and shifts.

    Returns
    -------
    Sample
        With a disk of 55 um for each spot, in the order of the matrix and named by barcode; `obs` has `in_tissue`,
        `array_row` and `array_col`.

    Raises
    ------
    DataError
        If a file is missing, unreadable or damaged, if matrix and positions have no spot in common, if the positions
        contradict the array or `mpp` (by over 5 %), or if the image is not the one that they refer to.
    SlideError
        If the image cannot be read.
    """
    transform = ImageTransform.of(image_transform)
    files = _find(Path(path), filtered)
    name = id or _folder_name(files.outs)
    factors_path = find_file(files.spatial, SCALEFACTOR_FILES)
    factors = read_scalefactors(factors_path) if factors_path else {}
    if "bin_size_um" in factors:
        raise _is_hd(files.outs)
    factors = transform.factors(factors)
    positions = read_positions(files.positions)
    pixels = ["pxl_col_in_fullres", "pxl_row_in_fullres"]
    positions[pixels] = transform.points(positions[pixels].to_numpy())
    size, source, said = _pixel_size(files.positions, positions, factors, mpp, mpp_source)
    slide = Slide.open(_image(files, image), size, source)
    check_image_scale(slide, files.spatial, factors)
    counts = read_tenx_matrix(files.matrix)
    # A matrix that may be raw has the spots beside the tissue, too.
    only_tissue = not files.filtered and filtered is not False
    rows, kept, left_out = _join(files, counts, positions, only_tissue)
    centres = kept[pixels].to_numpy() * slide.mpp
    try:
        table, merged = _table(counts, rows, kept)
        sample = Sample(name, slide, Disks(centres, SPOT_UM), table, donor, "visium")
    except DataError as error:
        raise DataError(f"{files.matrix} with {files.positions}: {error}") from error
    said += left_out + merged
    if said:
        warnings.warn(f"sample {name!r}: {'; '.join(said)}.", PixNetWarning, stacklevel=2)
    return sample


def _find(path: Path, filtered: bool | None) -> _Folder:
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{path}: {found}. Give the folder that Space Ranger wrote, `outs`.")
    for outs in (path, path / "outs"):
        if (outs / "binned_outputs").is_dir():
            raise _is_hd(path)
        spatial = find_file(outs, ["spatial"])
        for place in (spatial, outs):
            positions = find_file(place, POSITION_FILES) if place else None
            if place and positions:
                return _Folder(outs, place, positions, *_matrix(outs, filtered))
    raise DataError(
        f"{path}: holds no tissue_positions.csv or tissue_positions_list.csv, in `spatial/` or beside the matrix. "
        "Give the folder that Space Ranger wrote, `outs`, with all that is in it."
    )


def _matrix(outs: Path, filtered: bool | None) -> tuple[Path, bool | None]:
    """Find the matrix, and tell whether it is the filtered one."""
    kinds = (
        [("filtered", True), ("raw", False)] if filtered is None else [("filtered" if filtered else "raw", filtered)]
    )
    for kind, is_filtered in kinds:
        found = find_file(outs, [f"{kind}_feature_bc_matrix.h5", f"{kind}_feature_bc_matrix"])
        if found:
            return found, is_filtered
    # Archives often keep the three files of a matrix folder under a sample's prefix, beside the rest.
    if find_file(outs, ["matrix.mtx.gz", "matrix.mtx"]):
        return outs, None
    names = " or ".join(f"{kind}_feature_bc_matrix.h5" for kind, _ in kinds)
    raise DataError(f"{outs}: holds no {names}, nor a folder of that name. Copy it from Space Ranger's output.")


def _is_hd(path: Path) -> DataError:
    return DataError(
        f'{path}: is Visium HD, not Visium. Give `platform` = "visium-hd" (--set platform=visium-hd), in Python also '
        "`read_visium_hd`."
    )


def _folder_name(outs: Path) -> str:
    outs = outs.resolve()
    return (outs.parent.name if outs.name == "outs" else outs.name) or "visium"


def _image(files: _Folder, image: str | Path | None) -> Path:
    if image is not None:
        return Path(image)
    outs = files.outs.resolve()
    # What lies beside a folder of another name may belong to other samples.
    beside = [outs.parent] if outs.name == "outs" else []
    found = find_image([files.outs, files.spatial, *beside], files.spatial)
    if found is None:
        raise DataError(
            f"{files.outs}: holds no full-resolution image, and Space Ranger's own pictures (tissue_hires_image.png) "
            "are too coarse. Give the image that Space Ranger was run on as `image` (--image)."
        )
    return found


def _pixel_size(
    path: Path, positions: pd.DataFrame, factors: dict[str, float], mpp: float | None, mpp_source: str | None
) -> tuple[float | None, str | None, list[str]]:
    """Settle the pixel size and its source, and say what is doubtful; None where only the image may know."""
    # Columns count half spots: those of every other row lie in between.
    array = positions[["array_col", "array_row"]].to_numpy(np.float64) * [0.5, math.sqrt(0.75)]
    pitch = pitch_in_pixels(array, positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy())
    drawn = factors.get("spot_diameter_fullres")
    source = mpp_source or "argument"
    if isinstance(pitch, str):
        if mpp is not None:
            _check_spot(path, drawn, mpp, source)
            return mpp, source, []
        if np.linalg.matrix_rank(array - array.mean(axis=0)) == 2:
            raise DataError(f"{path}: {pitch}, so it gives no pixel size. Copy the file again, or give `mpp` (--mpp).")
        if drawn is None:
            return None, None, []
        doubt = (
            f"{pitch}, so the pixel size is from the spot diameter and may be 15 % off, so better give `mpp` (--mpp)"
        )
        return _DRAWN_SPOT_UM / drawn, "spot diameter", [doubt]
    x, y = pitch
    if abs(x - y) > _AXES_AGREE * max(x, y):
        raise DataError(
            f"{path}: neighbouring spots are {x:.1f} pixels apart along x and {y:.1f} along y, but must be equally far "
            "apart. The positions may belong to an image that was stretched, or the columns may be mixed up."
        )
    measured = PITCH_UM / math.sqrt(x * y)
    said = []
    if drawn and not _may_be_spot(drawn * measured):
        said = [
            f"the spots lie {math.sqrt(x * y):.1f} pixels apart but are {drawn:.1f} wide (spot_diameter_fullres), so "
            "positions and scale factors may belong to different images"
        ]
    if mpp is None:
        return measured, "spot pitch", said
    if abs(mpp - measured) > AGREES * measured:
        raise DataError(
            f"{path}: a pitch of {PITCH_UM:g} um means {measured:.4g} um per pixel, but {mpp:.4g} was given "
            f"({source}). Give that of the full-resolution image as `mpp` (--mpp), or leave it to the pitch."
        )
    return mpp, source, said


def _check_spot(path: Path, drawn: float | None, mpp: float, source: str) -> None:
    if drawn and not _may_be_spot(drawn * mpp):
        raise DataError(
            f"{path}: spots {drawn:.4g} pixels wide (spot_diameter_fullres) mean {SPOT_UM / drawn:.4g} to "
            f"{_DRAWN_SPOT_UM / drawn:.4g} um per pixel, but {mpp:.4g} was given ({source}). "
            "Give that of the full-resolution image as `mpp` (--mpp)."
        )


def _may_be_spot(um: float) -> bool:
    return SPOT_UM * (1 - AGREES) <= um <= _DRAWN_SPOT_UM * (1 + AGREES)


def _join(
    files: _Folder, counts: TenXMatrix, positions: pd.DataFrame, only_tissue: bool
) -> tuple[NDArray[np.intp], pd.DataFrame, list[str]]:
    """Match counts and positions: rows of the matrix, their positions, and what has no partner, in words."""
    barcodes = [barcode.decode("utf-8", "replace") for barcode in counts.barcodes.tolist()]
    place = pd.Index(positions["barcode"]).get_indexer(pd.Index(barcodes, dtype=object))
    if not (place >= 0).any():
        raise DataError(
            f"{files.matrix}: none of its {len(barcodes)} barcodes is among the {len(positions)} of {files.positions} "
            f"(such as {barcodes[0] if barcodes else ''} and {positions['barcode'].iloc[0]}). "
            "They may belong to different samples."
        )
    under = positions["in_tissue"].to_numpy() == 1
    keep = place >= 0
    if only_tissue:
        keep &= under[place]
        if not keep.any():
            raise DataError(
                f"{files.positions}: no spot with counts is under tissue (in_tissue = 1). Check the file, or take all "
                "spots by `filtered` = false (--set filtered=false)."
            )
    counted = np.zeros(len(positions), bool)
    counted[place[place >= 0]] = True
    said = []
    if (place < 0).any():
        said.append(f"{(place < 0).sum()} spots with counts have no position and are left out")
    if (under & ~counted).any():
        said.append(f"{(under & ~counted).sum()} spots under tissue have no counts and are left out")
    rows = np.flatnonzero(keep)
    return rows, positions.iloc[place[rows]].reset_index(drop=True), said


def _table(counts: TenXMatrix, rows: NDArray[np.intp], kept: pd.DataFrame) -> tuple[Counts, list[str]]:
    """Give the counts of the kept rows, and say which features went where."""
    matrix, genes, ids, merged = merge_genes(counts.matrix[rows], counts.names, counts.ids)
    said = [f"{merged} genes were added to another of the same name"] if merged else []
    if counts.others:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.others.items()))
        said.append(f"features that are no genes are left out ({kinds})")
    obs = kept[["in_tissue", "array_row", "array_col"]]
    return Counts(matrix, genes, ids, pd.Index(kept["barcode"]), obs), said
