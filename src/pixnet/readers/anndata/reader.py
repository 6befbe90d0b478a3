"""An AnnData with coordinates, and the image that they refer to: what any platform can be brought into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.readers.anndata.counts import dropped, table_counts, tell, with_notes
from pixnet.readers.anndata.source import TableSource, open_table
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.formats.pitch import squares_around
from pixnet.regions import Disks, Regions
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.slide import Slide
from pixnet.slide.pixel_size import AGREES, positive

_OBSM = ("spatial", "X_spatial")
_PIXELS = (("pxl_col_in_fullres", "pxl_row_in_fullres"), ("x_pixel", "y_pixel"))
_UM = (("x_um", "y_um"), ("x_centroid", "y_centroid"))


def read_anndata(
    table: str | Path | anndata.AnnData,
    image: str | Path | Slide,
    *,
    id: str | None = None,
    donor: str | None = None,
    mpp: float | None = None,
    mpp_source: str | None = None,
    diameter_um: float | None = None,
    side_um: float | None = None,
    swap_xy: bool = False,
    layer: str | None = None,
    image_transform: GivenTransform = None,
) -> Sample:
    """Read a table of counts with coordinates, and its image.

    Counts are taken from `X`; if that holds no raw counts, from `layers["counts"]`, and else from `.raw`.

    Coordinates are the first that the table has of: `obsm["spatial"]`, `obsm["X_spatial"]`, the columns of `obs`
    `pxl_col_in_fullres` and `pxl_row_in_fullres`, `x_pixel` and `y_pixel` (all these in pixels of the full-resolution
    image, x first), `x_um` and `y_um`, `x_centroid` and `y_centroid` (in um). An `obsm` that only repeats columns in um
    is in um too.

    Parameters
    ----------
    table
        An h5ad file, a zarr folder, or an AnnData.
    image
        The full-resolution H&E image. Pictures inside the table are scaled down, and never used.
    id
        Name of the sample; by default that of the file.
    donor
        The person that the tissue is from.
    mpp
        um per pixel of the image. By default the `microns_per_pixel` of the table, or what the image's metadata say.
    mpp_source
        Where `mpp` is from, if not from an argument.
    diameter_um
        Regions are disks of this diameter, in um.
    side_um
        Regions are squares of this side, in um, around the coordinates. By default, the table's `bin_size_um` makes
        squares, or its `spot_diameter_fullres` disks. Space Ranger's own spot diameter is that of a spot with its
        rim, 65 um for Visium; 55 um hold the probes.
    swap_xy
        Whether the first coordinate is y.
    layer
        Layer that holds the raw counts, "X" or "raw".
    image_transform
        Where `image` is not the one that the positions were written for: CSV file of, or array with, the (3, 3) matrix
        from pixels of that one to pixels of `image`. It turns, scales and shifts.

    Returns
    -------
    Sample
        Of platform "anndata"; what was taken for counts and coordinates stands in `counts.notes`.

    Raises
    ------
    DataError
        If the file is missing, damaged or no AnnData, if it has no raw counts or coordinates, if no size of the
        regions is known, if `mpp` contradicts the table by over 5 %, or if regions lie outside the image.
    SlideError
        If the image cannot be read, or no pixel size is known.
    """
    if image is None:  # a path that a script computes may be None
        raise DataError(
            f"{table}: give the full-resolution image as `image` (--image); a table's own pictures are scaled down."
        )
    transform = ImageTransform.of(image_transform)
    with open_table(table) as source:
        name = source.name
        counts = table_counts(source, layer)
        xy, unit, where = coordinates(source, swap_xy)
        factors = transform.factors(_common_factors(source))
    if isinstance(image, Slide):
        slide = image
    else:
        size, origin = _pixel_size(name, factors, mpp, mpp_source)
        slide = Slide.open(image, size, origin)
    # Coordinates in um are so in the image that they were written for.
    pixels = xy if unit == "px" else xy / (slide.mpp * transform.scale)
    centres = transform.points(pixels) * slide.mpp
    regions = _regions(name, centres, factors, slide.mpp, diameter_um, side_um)
    if id is None:
        id = "anndata" if isinstance(table, anndata.AnnData) else Path(table).stem
    tell(id, dropped(counts.notes))
    return placed(name, id, slide, regions, with_notes(counts, coordinates_from=where), donor, "anndata")


def coordinates(source: TableSource, swap_xy: bool = False) -> tuple[NDArray[np.float64], str, str]:
    """Find the centres of a table's regions, in the order of precedence that `read_anndata` documents.

    Returns
    -------
    xy, unit, where
        (n, 2) float64, "px" or "um", and what they were taken from.

    Raises
    ------
    DataError
        If there are none, or one is not a finite number.
    """
    obs = source.obs()
    columns = [(x, y) for x, y in (*_PIXELS, *_UM) if x in obs and y in obs]
    for key in _OBSM:
        stored = source.coordinates(key)
        if stored is not None:
            where = f"obsm[{key!r}]"
            xy = _finite(source.name, where, len(obs), stored)
            unit = "px"
            for x, y in columns:
                if (x, y) in _UM and np.allclose(xy, _columns(source.name, obs, x, y), rtol=1e-5, atol=1e-3):
                    unit = "um"
            break
    else:
        if not columns:
            raise DataError(
                f"{source.name}: has no coordinates. Put x and y in pixels of the full-resolution image into "
                "obsm['spatial'], or into the columns pxl_col_in_fullres and pxl_row_in_fullres of obs."
            )
        x, y = columns[0]
        where, unit, xy = f"obs[{x!r}, {y!r}]", "um" if columns[0] in _UM else "px", _columns(source.name, obs, x, y)
    return (xy[:, ::-1].copy() if swap_xy else xy), unit, where + (", swapped" if swap_xy else "")


def _columns(name: str, obs: pd.DataFrame, x: str, y: str) -> NDArray[np.float64]:
    return _finite(name, f"obs[{x!r}, {y!r}]", len(obs), obs[[x, y]].to_numpy())


def _finite(name: str, where: str, rows: int, values: NDArray[Any]) -> NDArray[np.float64]:
    if values.ndim != 2 or len(values) != rows or values.shape[1] < 2:
        raise DataError(f"{name}: {where} is of shape {values.shape}; it must hold x and y of {rows} regions.")
    try:
        xy: NDArray[np.float64] = values[:, :2].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: {where} holds something else than numbers.") from error
    bad = int((~np.isfinite(xy).all(axis=1)).sum())
    if bad:
        raise DataError(f"{name}: {where} is not finite for {bad} of {rows} regions. Leave those out.")
    return xy


def _common_factors(source: TableSource) -> dict[str, float]:
    """Give the scale factors that all libraries of a table have in common, where they are positive numbers."""
    found: dict[str, set[float]] = {}
    for factors in source.scalefactors().values():
        for key in ("spot_diameter_fullres", "bin_size_um", "microns_per_pixel"):
            number = positive(factors.get(key))
            if number is not None:
                found.setdefault(key, set()).add(number)
    return {key: values.pop() for key, values in found.items() if len(values) == 1}


def _pixel_size(
    name: str, factors: Mapping[str, float], mpp: float | None, mpp_source: str | None
) -> tuple[float | None, str | None]:
    stated = factors.get("microns_per_pixel")
    if mpp is None:
        return stated, None if stated is None else "microns_per_pixel"
    if stated is not None and positive(mpp) is not None and abs(mpp - stated) > AGREES * stated:
        raise DataError(
            f"{name}: states {stated:.4g} um per pixel (microns_per_pixel), but {mpp:.4g} was given "
            f"({mpp_source or 'argument'}). Give that of the image that the coordinates refer to as `mpp` (--mpp)."
        )
    return mpp, mpp_source


def _regions(
    name: str,
    centres: NDArray[np.float64],
    factors: Mapping[str, float],
    mpp: float,
    diameter_um: float | None,
    side_um: float | None,
) -> Regions:
    if diameter_um is not None and side_um is not None:
        raise DataError(
            f"{name}: `diameter_um` (--set diameter_um=UM) makes disks and `side_um` (--set side_um=UM) squares; give "
            "one of them."
        )
    if diameter_um is None and side_um is None:
        side_um = factors.get("bin_size_um")
        if side_um is None and "spot_diameter_fullres" in factors:
            diameter_um = factors["spot_diameter_fullres"] * mpp
    try:
        if side_um is not None:
            return squares_around(centres, side_um)
        if diameter_um is not None:
            return Disks(centres, diameter_um)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    raise DataError(
        f"{name}: does not say how large a region is. Give `diameter_um` (--set diameter_um=UM) for disks, or "
        "`side_um` (--set side_um=UM) for squares."
    )


def placed(
    name: str, id: str, slide: Slide, regions: Regions, counts: Counts, donor: str | None, platform: str
) -> Sample:
    """Make the sample; where its regions lie outside the slide, say which file it was and what option there is."""
    try:
        return Sample(id, slide, regions, counts, donor, platform)
    except DataError as error:
        hint = " If so, give `swap_xy` = true (--swap-xy)." if "may be swapped" in str(error) else ""
        raise DataError(f"{name}: {error}{hint}") from error
