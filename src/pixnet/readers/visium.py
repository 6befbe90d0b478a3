"""Visium: the output of Space Ranger 1 to 4 for a capture area with 55-um spots.

No file states a pixel size. It follows from the pitch: spots are printed 100 um apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.readers.common import (
    SampleOptions,
    agreed_pixel_size,
    errors_of,
    given_options,
    left_out,
    outs_of,
    telling_name,
    warn_once,
    weighed,
)
from pixnet.readers.formats.files import check_one_sample, find_file, packed_file
from pixnet.readers.formats.names import MATRICES, MATRIX_MARKET, POSITION_FILES, SCALEFACTOR_FILES, find_matrix
from pixnet.readers.formats.pitch import HALF_SPOTS, hexagonal_pitch, pitch_in_pixels, square_pitch
from pixnet.readers.formats.tenx_matrix import TenXMatrix, read_tenx_matrix
from pixnet.readers.formats.tenx_spatial import (
    check_image_scale,
    find_image,
    full_resolution_sizes,
    read_positions,
    read_scalefactors,
    required_image,
)
from pixnet.readers.platforms import VisiumEntry
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import merge_genes
from pixnet.slide.pixel_size import AGREES, PixelSize
from pixnet.slide.slide import open_slide

SPOT_UM, PITCH_UM = 55.0, 100.0
# Space Ranger documents spot_diameter_fullres as the diameter of a "theoretical 65-um spot", and real files agree with
# that; other programs write 55 um there. So it does not measure a pixel: it is a last resort and a coarse check.
_DRAWN_SPOT_UM = 65.0

_MATRIX_NAMES = tuple(name for names in (*MATRICES.values(), MATRIX_MARKET) for name in names)
_LIBRARY = re.compile(r"-\d+$")
_ARRAY = ["array_col", "array_row"]
_PIXELS = ["pxl_col_in_fullres", "pxl_row_in_fullres"]


@dataclass(frozen=True)
class _Folder:
    """The files of a capture area; `filtered` is None if the matrix's name does not say which one it is."""

    outs: Path
    spatial: Path
    positions: Path
    matrix: Path
    filtered: bool | None


def read_visium(
    path: str | Path, *, image: str | Path | None = None, filtered: bool | None = None, **options: Unpack[SampleOptions]
) -> Sample:
    """Read a capture area of Visium.

    Parameters
    ----------
    path
        Space Ranger's `outs/`, the folder that holds it, or a folder with the matrix (HDF5 or Matrix Market) beside
        `spatial/`. File names may have any prefix.
    image
        Full-resolution H&E image, the one that Space Ranger was run on. By default it is searched for in `outs/`,
        `outs/spatial/` and beside `outs/`.
    filtered
        True: the filtered matrix. False: the raw one, with the spots beside the tissue. None: the filtered matrix, or
        the spots under tissue of the raw one.
    **options
        `id`, `donor`, `mpp` and `image_transform`, as in `SampleOptions`. By default `mpp` follows from the pitch of
        the spots.

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
    given = given_options(**options)
    files = _find(Path(path), filtered)
    name = given.id or telling_name(files.outs)
    factors_path = find_file(files.spatial, SCALEFACTOR_FILES)
    factors = read_scalefactors(factors_path) if factors_path else {}
    if "bin_size_um" in factors:
        raise _is_hd(files.outs)
    factors = given.transform.factors(factors)
    check_one_sample({files.matrix: _MATRIX_NAMES, files.positions: POSITION_FILES} | _named(factors_path))
    positions, odd = read_positions(files.positions)
    positions[_PIXELS] = given.transform.points(positions[_PIXELS].to_numpy())
    size, notes = _pixel_size(files.positions, positions, factors, given.pixel)
    if image is None:
        image = required_image(files.outs, [files.outs, files.spatial, *_beside(files.outs)], files.spatial)
    slide = open_slide(image, size)
    check_image_scale(slide, files.spatial, factors)
    counts = read_tenx_matrix(files.matrix)
    # A matrix that may be raw also has the spots beside the tissue.
    only_tissue = not files.filtered and filtered is not False
    rows, spots, reasons = _join(files, counts, positions, only_tissue, set(odd))
    reasons["lines of the positions that are not valid"] = odd
    with errors_of(f"{files.matrix} with {files.positions}"):
        table, merged = _counts(counts, rows, spots)
        disks = Disks(spots[_PIXELS].to_numpy() * slide.mpp, SPOT_UM)
        sample = Sample(name, slide, disks, table, given.donor, "visium")
    warn_once(name, notes + left_out(reasons, len(rows)) + merged)
    return weighed(sample)


def _find(path: Path, filtered: bool | None) -> _Folder:
    if not path.is_dir():
        finding = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{path}: {finding}. Give the folder that Space Ranger wrote, `outs`.")
    for outs in (path, path / "outs"):
        if (outs / "binned_outputs").is_dir():
            raise _is_hd(path)
        spatial = find_file(outs, ["spatial"])
        for folder in (spatial, outs):
            positions = find_file(folder, POSITION_FILES) if folder else None
            if folder and positions:
                return _Folder(outs, folder, positions, *_matrix(outs, filtered))
    packed = next((file for outs in (path, path / "outs") if (file := packed_file(outs, ["spatial"]))), None)
    if packed:
        raise DataError(f"{packed}: is packed. Unpack it there.")
    raise DataError(
        f"{path}: tissue_positions.csv or tissue_positions_list.csv not found, in `spatial/` or beside the matrix. "
        "Give the folder that Space Ranger wrote, `outs`, with everything in it."
    )


def _matrix(outs: Path, filtered: bool | None) -> tuple[Path, bool | None]:
    """Find the matrix, and return whether it is the filtered one."""
    found = find_matrix(outs, filtered)
    if found is not None:
        return found
    # Archives often keep the three files of a matrix folder under a sample's prefix, beside the rest.
    if find_file(outs, MATRIX_MARKET):
        return outs, None
    if packed := packed_file(outs, _MATRIX_NAMES):
        raise DataError(f"{packed}: the matrix is packed. Unpack it there.")
    wanted = " or ".join(MATRICES[kind][0] for kind in ((True, False) if filtered is None else (filtered,)))
    raise DataError(f"{outs}: {wanted}, or a folder of that name, not found. Copy it from Space Ranger's output.")


def _named(factors: Path | None) -> dict[Path, Sequence[str]]:
    return {} if factors is None else {factors: SCALEFACTOR_FILES}


def _is_hd(path: Path) -> DataError:
    return DataError(
        f'{path}: is Visium HD, not Visium. Give `platform="visium-hd"`, or in Python call `read_visium_hd`.'
    )


def _beside(outs: Path) -> list[Path]:
    """Return the folder above `outs`; what is beside a folder of another name may belong to other samples."""
    outs = outs.resolve()
    return [outs.parent] if outs.name == "outs" else []


def _pixel_size(
    path: Path, positions: pd.DataFrame, factors: dict[str, float], given: PixelSize | None
) -> tuple[PixelSize | None, list[str]]:
    """Return the pixel size, None if only the image may state it, and notes on what is doubtful."""
    array = positions[_ARRAY].to_numpy(np.float64) * HALF_SPOTS
    pitch = pitch_in_pixels(array, positions[_PIXELS].to_numpy())
    drawn = factors.get("spot_diameter_fullres")
    if isinstance(pitch, str):
        if given is not None:
            if drawn and not _may_be_spot(drawn * given.mpp):
                raise DataError(
                    f"{path}: spots {drawn:.4g} pixels wide (spot_diameter_fullres) mean {SPOT_UM / drawn:.4g} to "
                    f"{_DRAWN_SPOT_UM / drawn:.4g} um per pixel, but {given.mpp:.4g} was given ({given.source}). "
                    "Give the pixel size of the full-resolution image as `mpp`."
                )
            return given, []
        if np.linalg.matrix_rank(array - array.mean(axis=0)) == 2:
            raise DataError(f"{path}: {pitch}, so it gives no pixel size. Copy the file again, or give `mpp`.")
        if drawn is None:
            return None, []
        note = f"{pitch}, so the pixel size is from the spot diameter and may be 15 % off; it is better to give `mpp`"
        return PixelSize(_DRAWN_SPOT_UM / drawn, "spot diameter"), [note]
    pitch_px = square_pitch(path, pitch)
    measured = PITCH_UM / pitch_px
    notes = []
    if drawn and not _may_be_spot(drawn * measured):
        notes = [
            f"the spots are {pitch_px:.1f} pixels apart but {drawn:.1f} pixels wide (spot_diameter_fullres), so "
            "positions and scale factors may belong to different images"
        ]
    size = agreed_pixel_size(
        given,
        PixelSize(measured, "spot pitch"),
        f"{path}: a pitch of {PITCH_UM:g} um means {measured:.4g} um per pixel",
        "Give the pixel size of the full-resolution image as `mpp`, or leave it out to use the pitch.",
    )
    return size, notes


def _may_be_spot(um: float) -> bool:
    return SPOT_UM * (1 - AGREES) <= um <= _DRAWN_SPOT_UM * (1 + AGREES)


def _join(
    files: _Folder, counts: TenXMatrix, positions: pd.DataFrame, only_tissue: bool, odd: Set[str]
) -> tuple[NDArray[np.intp], pd.DataFrame, dict[str, int | list[str]]]:
    """Return the rows of the matrix that have a position, their positions, and the spots left out by reason.

    Barcodes in `odd` are those whose line of the positions is not valid.
    """
    barcodes = [barcode.decode("utf-8", "replace") for barcode in counts.barcodes.tolist()]
    place = _places(barcodes, positions["barcode"].tolist())
    if not (place >= 0).any():
        raise DataError(
            f"{files.matrix}: none of its {len(barcodes)} barcodes is among the {len(positions)} of {files.positions} "
            f"(such as {barcodes[0] if barcodes else ''} and {positions['barcode'].iloc[0]}). "
            "They may belong to different samples."
        )
    under = positions["in_tissue"].to_numpy() == 1
    selected = place >= 0
    if only_tissue:
        selected &= under[place]
        if not selected.any():
            raise DataError(
                f"{files.positions}: no spot with counts is under tissue (in_tissue = 1). Check the file, or give "
                "`filtered=False` to use all spots."
            )
    counted = np.zeros(len(positions), bool)
    counted[place[place >= 0]] = True
    reasons: dict[str, int | list[str]] = {
        "spots with counts but without a position": [
            barcodes[row] for row in np.flatnonzero(place < 0) if barcodes[row] not in odd
        ],
        "spots under tissue but without counts": positions["barcode"][under & ~counted].tolist(),
    }
    rows = np.flatnonzero(selected)
    return rows, positions.iloc[place[rows]].reset_index(drop=True), reasons


def _places(barcodes: list[str], placed: list[str]) -> NDArray[np.intp]:
    """Return the place of each barcode among those that have a position, -1 where it has none.

    Where none has, the number of the library at the end (`-1`), which some tables lack, is not compared.
    """
    place = pd.Index(placed).get_indexer(pd.Index(barcodes, dtype=object))
    if not (place >= 0).any():
        stems, known = ([_LIBRARY.sub("", barcode) for barcode in some] for some in (barcodes, placed))
        if len(set(stems)) == len(stems) and len(set(known)) == len(known):
            place = pd.Index(known).get_indexer(pd.Index(stems, dtype=object))
    return np.asarray(place, np.intp)


def _counts(counts: TenXMatrix, rows: NDArray[np.intp], spots: pd.DataFrame) -> tuple[Counts, list[str]]:
    """Return the counts of the selected rows, and notes on merged and omitted features."""
    matrix, genes, ids, notes = merge_genes(counts.matrix[rows], counts.names, counts.ids)
    if counts.others:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.others.items()))
        notes.append(f"features that are not genes are left out ({kinds})")
    obs = spots[["in_tissue", "array_row", "array_col"]]
    return Counts(matrix, genes, ids, pd.Index(spots["barcode"]), obs), notes


def raw_places(entry: VisiumEntry, raw: RawFiles) -> None:
    """Fill in the spots under tissue; see `RawReader`."""
    outs = outs_of(entry.path)
    raw.spatial = find_file(outs, ["spatial"]) or outs
    if raw.image is None:
        raw.image = find_image([outs, raw.spatial, *_beside(outs)], raw.spatial)
    raw.pictures.update(full_resolution_sizes(raw.spatial))
    path = find_file(raw.spatial, POSITION_FILES)
    if path is not None:
        positions, _ = read_positions(path)
        pixels = positions[_PIXELS].to_numpy(np.float64)
        under = positions["in_tissue"].to_numpy() == 1
        raw.xy_px = pixels[under] if under.any() else pixels
        raw.pitch_px = hexagonal_pitch(positions[_ARRAY].to_numpy(np.float64), pixels)
        raw.pitch_um = PITCH_UM


def raw_counts(entry: VisiumEntry) -> RawCounts:
    """Return the counts as written; see `RawReader`."""
    outs = outs_of(entry.path)
    matrix, _ = find_matrix(outs, None) or (outs, None)
    counts = read_tenx_matrix(matrix)
    return counts.matrix, counts.names
