"""An AnnData with coordinates, and the image that they refer to: a form that any platform's data can have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.readers.anndata.counts import gene_names, table_counts, with_notes
from pixnet.readers.anndata.rows import placed_rows
from pixnet.readers.anndata.source import TableSource, open_table
from pixnet.readers.common import SampleOptions, agreed_pixel_size, errors_of, given_options, warn_once, weighed
from pixnet.readers.formats.pitch import hexagonal_pitch, pitch, squares_around
from pixnet.readers.platforms import AnnDataEntry
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.regions import Disks, Regions
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.formats import SUFFIXES
from pixnet.slide.pixel_size import PixelSize, positive
from pixnet.slide.slide import open_slide


def read_anndata(
    table: str | Path | anndata.AnnData,
    image: str | Path | Slide,
    *,
    diameter_um: float | None = None,
    side_um: float | None = None,
    swap_xy: bool = False,
    layer: str | None = None,
    library_id: str | None = None,
    **options: Unpack[SampleOptions],
) -> Sample:
    """Read a table of counts with coordinates, and its image.

    Counts are taken from `X`; if that does not hold raw counts, from `layers["counts"]` (or `raw_counts` and the like),
    and else from `.raw`. Rows that `obs["in_tissue"]` flags as not under tissue, and rows without a position, are left
    out with a warning.

    Coordinates are the first of these that the table has: `obsm["spatial"]`, `obsm["X_spatial"]`, the columns of `obs`
    `pxl_col_in_fullres` and `pxl_row_in_fullres`, `x_pixel` and `y_pixel`, `imagecol` and `imagerow` (all these in
    pixels of the full-resolution image, x first), `x_um` and `y_um`, `x_centroid` and `y_centroid` (in um). An `obsm`
    that only repeats columns in um is in um too.

    Parameters
    ----------
    table
        An h5ad file, a zarr folder, or an AnnData.
    image
        The full-resolution H&E image. Pictures inside the table are scaled down, and never used.
    diameter_um
        Diameter of the regions in um, if they are disks.
    side_um
        Side of the regions in um, if they are squares around the coordinates. By default, the table's `bin_size_um`
        makes squares, or its `spot_diameter_fullres` disks. Space Ranger's own spot diameter includes the rim of the
        spot, 65 um for Visium; the probes are within 55 um.
    swap_xy
        Whether the first coordinate is y.
    layer
        Layer that holds the raw counts, "X" or "raw".
    library_id
        Section to read, if the table holds several: its name in a column of `obs` such as `library_id`.
    **options
        `id`, `donor`, `mpp` and `image_transform`, as in `SampleOptions`. By default `mpp` is the `microns_per_pixel`
        of the table, or what the image's metadata state.

    Returns
    -------
    Sample
        Of platform "anndata"; `counts.notes` states where counts and coordinates are from.

    Raises
    ------
    DataError
        If the file is missing, damaged or not an AnnData, if it has no raw counts or coordinates, if it holds several
        sections and `library_id` names none, if no size of the regions is known, if `mpp` contradicts the table by over
        5 %, or if regions are outside the image.
    SlideError
        If the image cannot be read, or no pixel size is known.
    """
    if image is None:  # a path that a script computes may be None
        raise DataError(f"{table}: give the full-resolution image as `image`; a table's own pictures are scaled down.")
    given = given_options(**options)
    transform = given.transform
    with open_table(table) as source:
        name = source.name
        placed = placed_rows(source, swap_xy, library_id)
        counts, rows, notes = table_counts(source, layer, placed.rows)
        factors = transform.factors(_known(placed.factors))
    xy = placed.xy[np.isin(placed.rows, rows)]
    slide = image if isinstance(image, Slide) else open_slide(image, _pixel_size(name, factors, given.pixel))
    # Coordinates in um are um of the image that they were written for.
    pixels = xy if placed.unit == "px" else xy / (slide.mpp * transform.scale)
    centres = transform.points(pixels) * slide.mpp
    with errors_of(name):
        regions = _regions(centres, factors, slide.mpp, diameter_um, side_um)
    id = given.id
    if id is None:
        id = "anndata" if isinstance(table, anndata.AnnData) else Path(table).stem
    warn_once(id, [*placed.notes, *notes])
    with table_errors(name):
        made = Sample(id, slide, regions, with_notes(counts, coordinates_from=placed.origin), given.donor, "anndata")
        return weighed(made)


def _known(factors: Mapping[str, Any]) -> dict[str, float]:
    """Return the scale factors that are used here, if they are positive numbers."""
    wanted = ("spot_diameter_fullres", "bin_size_um", "microns_per_pixel")
    return {key: number for key in wanted if (number := positive(factors.get(key))) is not None}


def _pixel_size(name: str, factors: Mapping[str, float], given: PixelSize | None) -> PixelSize | None:
    stated = factors.get("microns_per_pixel")
    if stated is None:
        return given
    return agreed_pixel_size(
        given,
        PixelSize(stated, "microns_per_pixel"),
        f"{name}: states {stated:.4g} um per pixel (microns_per_pixel)",
        "Give the pixel size of the image that the coordinates refer to as `mpp`.",
    )


def _regions(
    centres: NDArray[np.float64],
    factors: Mapping[str, float],
    mpp: float,
    diameter_um: float | None,
    side_um: float | None,
) -> Regions:
    if diameter_um is not None and side_um is not None:
        raise DataError("`diameter_um` makes disks and `side_um` makes squares; give one of them.")
    if diameter_um is None and side_um is None:
        side_um = factors.get("bin_size_um")
        if side_um is None and "spot_diameter_fullres" in factors:
            diameter_um = factors["spot_diameter_fullres"] * mpp
    if side_um is not None:
        return squares_around(centres, side_um)
    if diameter_um is not None:
        return Disks(centres, diameter_um)
    raise DataError("does not state how large a region is. Give `diameter_um` for disks, or `side_um` for squares.")


@contextmanager
def table_errors(name: str) -> Iterator[None]:
    """Put a table's name before the error of a sample, and after it the option for swapped coordinates."""
    try:
        yield
    except DataError as error:
        hint = " If so, give `swap_xy=True`." if "may be swapped" in str(error) else ""
        raise DataError(f"{name}: {error}{hint}") from error


def raw_places(entry: AnnDataEntry, raw: RawFiles) -> None:
    """Fill in the coordinates of a table; see `RawReader`."""
    table_places(entry.path, entry.swap_xy, raw, entry.library_id)
    measure_pitch(raw)


def raw_counts(entry: AnnDataEntry) -> RawCounts:
    """Return the counts as written; see `RawReader`."""
    with open_table(entry.path) as source:
        return counts_of(source, entry.layer or "X")


def counts_of(source: TableSource, layer: str) -> RawCounts:
    """Return a layer of a table as it is written, and the names of its genes."""
    return source.matrix(layer), gene_names(source.genes(layer))[0]


def table_places(path: Path, swap_xy: bool, raw: RawFiles, library_id: str | None = None) -> None:
    """Fill in the coordinates of a table, and the image beside it (or in `wsis/` as HEST has it) if none is given."""
    if raw.image is None:
        folder = path.parent.parent / "wsis" if path.parent.name == "st" else path.parent
        files = sorted(folder.glob(f"{path.stem}.*"))
        raw.image = next((file for file in files if file.suffix.lower() in SUFFIXES), None)
    with open_table(path) as source:
        placed = placed_rows(source, swap_xy, library_id)
        obs = source.obs().iloc[placed.rows]
    raw.xy_px, raw.unit = placed.xy, placed.unit
    if {"array_row", "array_col"} <= set(obs) and _is_hexagonal(obs["array_row"], obs["array_col"]):
        raw.pitch_um = 100.0
        if raw.unit == "px":
            raw.pitch_px = hexagonal_pitch(obs[["array_col", "array_row"]].to_numpy(float), raw.xy_px)


def measure_pitch(raw: RawFiles) -> None:
    """Fill in the pitch of coordinates in pixels, if it is not known yet."""
    if raw.unit == "px" and raw.pitch_px is None and raw.xy_px is not None:
        raw.pitch_px = pitch(raw.xy_px)


def _is_hexagonal(row: pd.Series, col: pd.Series) -> bool:
    """Return whether places are those of Visium's array, where odd rows have odd columns only."""
    return bool(((row + col) % 2 == 0).all() and (row % 2 == 1).any())
