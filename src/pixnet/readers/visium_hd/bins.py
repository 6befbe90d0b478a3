"""Visium HD: a capture area of 2-um bins, and larger bins pooled from them, as Space Ranger writes them.

Bins are squares of a lattice that lies turned, often mirrored, and with a little perspective on the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix
from pixnet.readers.formats.tenx_spatial import POSITION_FILES, check_image_scale
from pixnet.readers.visium_hd.files import (
    DEFAULT_BIN_UM,
    MATRICES,
    bin_folders,
    choose_matrix,
    full_resolution_image,
    others_told,
    pixel_size,
    read_spatial,
    required_file,
    tell,
    telling_name,
)
from pixnet.readers.visium_hd.lattice import (
    MOST_BINS,
    NO_POSITION,
    OFF_TISSUE,
    ON_TISSUE,
    Ints,
    Positions,
    parse_barcodes,
    pool_bins,
    read_positions,
)
from pixnet.regions import Squares
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import merge_genes
from pixnet.slide import Slide


@dataclass
class _Bins:
    """Bins of one folder that are under tissue, pooled or not."""

    matrix: sparse.csr_matrix
    names: list[str]
    ids: list[str]
    rows: Ints
    cols: Ints
    pooled: Ints | None
    told: list[str]


def read_visium_hd(
    path: str | Path,
    *,
    bin_um: float | None = None,
    image: str | Path | None = None,
    id: str | None = None,
    donor: str | None = None,
    mpp: float | None = None,
    mpp_source: str | None = None,
    filtered: bool | None = None,
    image_transform: GivenTransform = None,
) -> Sample:
    """Read the bins of a Visium HD capture area that are under tissue.

    Parameters
    ----------
    path
        Space Ranger's `outs`, the folder that holds it, `binned_outputs`, or one folder `square_XXXum`.
    bin_um
        Side of the bins in um. A size without a folder of its own is pooled from the largest that divides it. By
        default 8, or the size of the one folder given.
    image
        The full-resolution image that Space Ranger was given; by default the one that lies beside its output.
    id
        Name of the sample; by default that of the folder.
    donor
        The person that the tissue is from.
    mpp
        um per pixel of the image. By default `microns_per_pixel` of the scale factors.
    mpp_source
        Where `mpp` is from, if not from an argument.
    filtered
        Whether to read the filtered or the raw matrix; by default the filtered one if it is there. Either way, only
        bins under tissue are kept.
    image_transform
        Where `image` is not the one that the positions were written for: CSV file of, or array with, the (3, 3) matrix
        from pixels of that one to pixels of `image`. It turns, scales and shifts.

    Returns
    -------
    Sample
        Of platform "visium-hd", its regions squares. `counts.obs` has `array_row` and `array_col` as in Space
        Ranger's barcodes (of the larger lattice if pooled) and, if pooled, `bins`: how many bins were under tissue
        and are summed. `counts.notes` has `bin_um`, and the mean and greatest distance of the lattice from the stated
        positions in um. Bins have no names.

    Raises
    ------
    DataError
        If a file is missing, damaged or contradicts another, if no folder's size divides `bin_um`, if no image is
        found, or if `mpp` and the pitch of the bins differ by over 5 %.
    SlideError
        If the image cannot be read.

    Warns
    -----
    PixNetWarning
        Once, on bins without a position or without counts, genes merged or left out, and a lattice that is off by
        over half a bin.
    """
    path = Path(path)
    name = id or telling_name(path)
    folder, size, factor = _folder(path, bin_um)
    transform = ImageTransform.of(image_transform)
    spatial, factors = read_spatial(folder, size)
    factors = transform.factors(factors)
    # The image comes first: it is what is missing most often, and the matrix takes longest.
    picture = full_resolution_image(path, folder, image)
    positions = read_positions(required_file(spatial, POSITION_FILES[:1]), transform)
    lattice = positions.lattice
    measured = size / lattice.side_px
    pixel, source = pixel_size(spatial, factors, mpp, mpp_source, measured)
    slide = Slide.open(picture, pixel, source)
    pixel = slide.mpp
    check_image_scale(slide, spatial, factors)
    bins = _read_bins(folder, positions, factor, filtered)
    matrix, genes, ids, merged = merge_genes(bins.matrix, bins.names, bins.ids)
    if merged:
        bins.told.append(f"{merged} genes were added to others of the same name")
    off_um = lattice.most_off_px * pixel
    if off_um > size * factor / 2:
        bins.told.append(
            f"the stated positions lie up to {off_um:.1f} um ({lattice.mean_off_px * pixel:.1f} um on average) "
            f"beside the lattice that fits them best, over half a bin of {size * factor:g} um"
        )
    to_um = np.diag([pixel, pixel, 1.0])
    # The side that the positions have, not the nominal one: a thousandth less adds up to a bin or more at the far end.
    squares = Squares(
        lattice.x_px * pixel,
        lattice.y_px * pixel,
        lattice.side_px * pixel * factor,
        bins.rows,
        -bins.cols - 1 if lattice.mirrored else bins.cols,
        lattice.angle_deg,
        None if lattice.perspective is None else to_um @ lattice.perspective @ np.linalg.inv(to_um),
    )
    obs = {"array_row": bins.rows, "array_col": bins.cols}
    if bins.pooled is not None:
        obs["bins"] = bins.pooled
    notes = {"bin_um": size * factor, "lattice_mean_off_um": lattice.mean_off_px * pixel, "lattice_most_off_um": off_um}
    table = Counts(matrix, genes, ids, obs=pd.DataFrame(obs), notes=notes)
    if bins.pooled is not None:
        inside = _not_beyond(squares, bins.pooled < factor**2, slide)
        if not inside.all():
            bins.told.append(f"{np.count_nonzero(~inside)} squares, filled in part, have their centre beyond the image")
            squares, table = squares.take(inside), table.take(inside)
    tell(name, bins.told, stacklevel=3)
    try:
        return Sample(name, slide, squares, table, donor, "visium-hd")
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error


def _folder(path: Path, bin_um: float | None) -> tuple[Path, float, int]:
    """Choose the folder to read: give it, its size in um, and how many of its bins make the side of one asked for."""
    if bin_um is not None and not (math.isfinite(bin_um) and bin_um > 0):
        raise DataError(f"{path}: `bin_um` (--set bin_um=UM) must be a positive number of um, not {bin_um!r}.")
    sizes = bin_folders(path)
    wanted = bin_um if bin_um is not None else next(iter(sizes)) if path in sizes.values() else DEFAULT_BIN_UM
    for size in sorted(sizes, reverse=True):
        factor = round(min(wanted / size, MOST_BINS + 1.0))
        if 1 <= factor <= MOST_BINS and abs(factor * size - wanted) <= 1e-6 * wanted:
            return sizes[size], size, factor
    there = ", ".join(f"{size:g}" for size in sorted(sizes))
    raise DataError(
        f"{path}: has no bins that make squares of {wanted:g} um; it has bins of {there} um. "
        "Give one of these or a multiple as `bin_um` (--set bin_um=UM)."
    )


def _not_beyond(squares: Squares, partial: NDArray[np.bool_], slide: Slide) -> NDArray[np.bool_]:
    """Say which squares to keep: a large one at the image's edge may have its centre outside, and only bins inside."""
    centres = squares.centers_um
    inside = ((centres >= 0) & (centres <= (slide.width_um, slide.height_um))).all(axis=1)
    return np.asarray(inside | ~partial)


def _read_bins(folder: Path, positions: Positions, factor: int, filtered: bool | None) -> _Bins:
    """Read a folder's bins, keep those under tissue, and pool them if asked to."""
    path, is_filtered = choose_matrix(folder, MATRICES, filtered)
    found = read_tenx_matrix(path)
    rows, cols = parse_barcodes(path, found.barcodes)
    state = np.zeros(len(rows), np.uint8)
    within = (rows < positions.state.shape[0]) & (cols < positions.state.shape[1])
    state[within] = positions.state[rows[within], cols[within]]
    kept = state == ON_TISSUE
    if not kept.any():
        raise DataError(
            f"{path}: none of its {len(rows)} bins is among the {np.count_nonzero(positions.state == ON_TISSUE)} under "
            f"tissue in {folder / 'spatial'}. They may belong to different runs."
        )
    told = []
    without = {
        "bins have no position": np.count_nonzero(state == NO_POSITION),
        "bins are not under tissue": is_filtered and np.count_nonzero(state == OFF_TISSUE),
        "bins under tissue have no counts": np.count_nonzero(positions.state == ON_TISSUE) - np.count_nonzero(kept),
    }
    if any(without.values()):
        listed = ", ".join(f"{count} {what}" for what, count in without.items() if count)
        told.append(f"{listed}; they are left out, {np.count_nonzero(kept)} remain")
    told += others_told(found.others)
    pooled = None
    matrix = found.matrix
    if factor > 1:
        matrix, rows, cols, pooled = pool_bins(matrix, rows, cols, factor, kept)
    elif not kept.all():
        matrix, rows, cols = matrix[kept], rows[kept], cols[kept]
    return _Bins(matrix, found.names, found.ids, rows, cols, pooled, told)
