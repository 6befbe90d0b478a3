"""Visium HD: a capture area of 2-um bins, and larger bins pooled from them, as Space Ranger writes them.

Bins are squares of a lattice that is turned, often mirrored, and has a little perspective on the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.common import SampleOptions, errors_of, given_options, left_out, telling_name, warn_once
from pixnet.readers.formats.files import find_file, required_file
from pixnet.readers.formats.names import POSITION_FILES
from pixnet.readers.formats.parquet import open_parquet
from pixnet.readers.formats.pitch import pitch
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix
from pixnet.readers.formats.tenx_spatial import check_image_scale, full_resolution_sizes
from pixnet.readers.platforms import VisiumHDEntry
from pixnet.readers.raw import MOST_PLACES, Places, RawCounts, RawFiles
from pixnet.readers.visium_hd.files import (
    DEFAULT_BIN_UM,
    bin_folders,
    choose_matrix,
    full_resolution_image,
    omitted_features,
    pixel_size,
    read_spatial,
)
from pixnet.readers.visium_hd.lattice import (
    MOST_BINS,
    NO_POSITION,
    OFF_TISSUE,
    ON_TISSUE,
    Ints,
    Lattice,
    Positions,
    parse_barcodes,
    pool_bins,
    read_positions,
)
from pixnet.regions import Squares
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import merge_genes
from pixnet.slide.slide import open_slide

_NEIGHBOURS = 20_000  # places that a pitch is measured from; rows of the file are mostly neighbours


@dataclass
class _Bins:
    """Bins of one folder that are under tissue, pooled or not, and notes on what was left out."""

    matrix: sparse.csr_matrix
    names: list[str]
    ids: list[str]
    rows: Ints
    cols: Ints
    pooled: Ints | None
    notes: list[str]


def read_visium_hd(
    path: str | Path,
    *,
    bin_um: float | None = None,
    image: str | Path | None = None,
    filtered: bool | None = None,
    **options: Unpack[SampleOptions],
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
        The full-resolution image that Space Ranger was given; by default the one that is beside its output.
    filtered
        Whether to read the filtered or the raw matrix; by default the filtered one if it is there. Either way, only
        bins under tissue are included.
    **options
        `id`, `donor`, `mpp` and `image_transform`, as in `SampleOptions`. By default `mpp` is the `microns_per_pixel`
        of the scale factors.

    Returns
    -------
    Sample
        Of platform "visium-hd"; its regions are squares. `counts.obs` has `array_row` and `array_col` as in Space
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
    given = given_options(**options)
    name = given.id or telling_name(path)
    folder, size, factor = _folder(path, bin_um)
    spatial, factors = read_spatial(folder, size)
    factors = given.transform.factors(factors)
    # The image comes first: it is what is missing most often, and the matrix takes longest.
    picture = full_resolution_image(path, folder, image)
    positions = read_positions(required_file(spatial, POSITION_FILES[:1]), given.transform)
    lattice = positions.lattice
    slide = open_slide(picture, pixel_size(spatial, factors, given.pixel, size / lattice.side_px))
    check_image_scale(slide, spatial, factors)
    bins = _read_bins(folder, positions, factor, filtered)
    matrix, genes, ids, merged = merge_genes(bins.matrix, bins.names, bins.ids)
    bins.notes.extend(merged)
    off_um = lattice.most_off_px * slide.mpp
    mean_off_um = lattice.mean_off_px * slide.mpp
    if off_um > size * factor / 2:
        bins.notes.append(
            f"the stated positions are up to {off_um:.1f} um ({mean_off_um:.1f} um on average) away from the lattice "
            f"that fits them best, over half a bin of {size * factor:g} um"
        )
    squares = _squares(lattice, bins, factor, slide.mpp)
    obs = {"array_row": bins.rows, "array_col": bins.cols}
    if bins.pooled is not None:
        obs["bins"] = bins.pooled
    notes = {"bin_um": size * factor, "lattice_mean_off_um": mean_off_um, "lattice_most_off_um": off_um}
    table = Counts(matrix, genes, ids, obs=pd.DataFrame(obs), notes=notes)
    if bins.pooled is not None:
        # A large square at the image's edge may have its centre outside, with bins only inside.
        centres = squares.centers_um
        on_image = ((centres >= 0) & (centres <= (slide.width_um, slide.height_um))).all(axis=1)
        included = np.asarray(on_image | (bins.pooled >= factor**2))
        if not included.all():
            bins.notes.append(
                f"{np.count_nonzero(~included)} squares, filled in part, have their centre beyond the image and are "
                "left out"
            )
            squares, table = squares.take(included), table.take(included)
    warn_once(name, bins.notes)
    with errors_of(folder):
        return Sample(name, slide, squares, table, given.donor, "visium-hd")


def _squares(lattice: Lattice, bins: _Bins, factor: int, mpp: float) -> Squares:
    to_um = np.diag([mpp, mpp, 1.0])
    # The side that the positions have, not the nominal one: a thousandth less adds up to a bin or more at the far end.
    return Squares(
        lattice.x_px * mpp,
        lattice.y_px * mpp,
        lattice.side_px * mpp * factor,
        bins.rows,
        -bins.cols - 1 if lattice.mirrored else bins.cols,
        lattice.angle_deg,
        None if lattice.perspective is None else to_um @ lattice.perspective @ np.linalg.inv(to_um),
    )


def _folder(path: Path, bin_um: float | None) -> tuple[Path, float, int]:
    """Return the folder to read, its bin size in um, and how many of its bins make up the side of a wanted one."""
    if bin_um is not None and not (math.isfinite(bin_um) and bin_um > 0):
        raise DataError(f"{path}: `bin_um` must be a positive number of um, not {bin_um!r}.")
    sizes = bin_folders(path)
    wanted = bin_um if bin_um is not None else next(iter(sizes)) if path in sizes.values() else DEFAULT_BIN_UM
    for size in sorted(sizes, reverse=True):
        factor = round(min(wanted / size, MOST_BINS + 1.0))
        if 1 <= factor <= MOST_BINS and abs(factor * size - wanted) <= 1e-6 * wanted:
            return sizes[size], size, factor
    available = ", ".join(f"{size:g}" for size in sorted(sizes))
    raise DataError(
        f"{path}: has no bins that make squares of {wanted:g} um; it has bins of {available} um. "
        "Give one of these or a multiple as `bin_um`."
    )


def _read_bins(folder: Path, positions: Positions, factor: int, filtered: bool | None) -> _Bins:
    """Read a folder's bins, select those under tissue, and pool them if `factor` is over 1."""
    path, is_filtered = choose_matrix(folder, filtered)
    counts = read_tenx_matrix(path)
    rows, cols, valid = parse_barcodes(path, counts.barcodes)
    state = np.zeros(len(rows), np.uint8)
    within = valid & (rows < positions.state.shape[0]) & (cols < positions.state.shape[1])
    state[within] = positions.state[rows[within], cols[within]]
    selected = state == ON_TISSUE
    if not selected.any():
        raise DataError(
            f"{path}: none of its {len(rows)} bins is among the {np.count_nonzero(positions.state == ON_TISSUE)} under "
            f"tissue in {folder / 'spatial'}. They may belong to different runs."
        )
    remaining = int(np.count_nonzero(selected))
    odd = {
        "bins with the barcode of none or of several": int(np.count_nonzero(~valid)),
        "bins without a position": int(np.count_nonzero(valid & (state == NO_POSITION))),
        "rows of the positions that are not valid": positions.odd,
        "bins not under tissue": int(np.count_nonzero(state == OFF_TISSUE)) if is_filtered else 0,
        "bins under tissue but without counts": int(np.count_nonzero(positions.state == ON_TISSUE)) - remaining,
    }
    notes = left_out(odd, remaining) + omitted_features(counts.others)
    pooled = None
    matrix = counts.matrix
    if factor > 1:
        matrix, rows, cols, pooled = pool_bins(matrix, rows, cols, factor, selected)
    elif not selected.all():
        matrix, rows, cols = matrix[selected], rows[selected], cols[selected]
    return _Bins(matrix, counts.names, counts.ids, rows, cols, pooled, notes)


def raw_places(entry: VisiumHDEntry, raw: RawFiles) -> None:
    """Fill in the bins under tissue; see `RawReader`."""
    # The largest bins: they are where the small ones are, and few.
    sizes = bin_folders(entry.path)
    size, folder = max(sizes.items())
    raw.spatial, _ = read_spatial(folder, size)
    raw.pictures.update(full_resolution_sizes(raw.spatial))
    positions = find_file(raw.spatial, POSITION_FILES[:1])
    if positions is not None:
        first, raw.xy_px = _read_places(positions)
        measured = pitch(first)
        # Reported for the bins that the sample is read at.
        bin_um = entry.bin_um or (size if entry.path in sizes.values() or entry.cells else DEFAULT_BIN_UM)
        raw.pitch_px = None if measured is None else measured * bin_um / size
        raw.pitch_um = bin_um
    raw.image = full_resolution_image(entry.path, folder, entry.image)


def raw_counts(entry: VisiumHDEntry) -> RawCounts | None:
    """Return None: millions of bins are not read a second time."""
    return None


def _read_places(path: Path) -> tuple[Places, Places]:
    """Return the first places under tissue, which are neighbours, and a sample of all; never all of ten million."""
    pixels = ["pxl_col_in_fullres", "pxl_row_in_fullres"]
    first, sample = np.empty((0, 2)), []
    with open_parquet(path, ["in_tissue", *pixels], "a table of positions") as file:
        step = max(1, file.metadata.num_rows // MOST_PLACES)
        for batch in file.iter_batches(1 << 18, columns=["in_tissue", *pixels]):
            table = batch.to_pandas()
            places = table.loc[table["in_tissue"] == 1, pixels].to_numpy(np.float64)
            if len(first) < _NEIGHBOURS:
                first = np.concatenate([first, places])[:_NEIGHBOURS]
            sample.append(places[::step])
    return first, np.concatenate(sample)
