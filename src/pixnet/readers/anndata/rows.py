"""The rows of an AnnData that are regions of one section: under tissue and with a position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.readers.anndata.source import TableSource
from pixnet.readers.common import left_out
from pixnet.readers.formats.flags import letters, under_tissue

_OBSM = ("spatial", "X_spatial", "spatial_coords", "spatial_fullres")
_PIXELS = (
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
    ("x_pixel", "y_pixel"),
    ("pixel_x", "pixel_y"),
    ("imagecol", "imagerow"),
)
_UM = (("x_um", "y_um"), ("x_centroid", "y_centroid"), ("x_micron", "y_micron"), ("x_microns", "y_microns"))
"""Columns of x and y, in any case, in pixels of the full-resolution image and in um."""

_LIBRARY = ("library_id", "library", "section_id", "section", "slide_id", "slide", "sample_id", "sample", "batch")
"""Columns that may tell the sections of a table apart, in the order of preference; the first one always does."""

_MOST_SECTIONS = 1000
_REPEATED = 0.1  # share of the rows: so many at a place of the array that another row has, too, means two arrays


@dataclass(frozen=True)
class PlacedRows:
    """Rows of a table that are regions of one section.

    Attributes
    ----------
    rows
        Numbers of the rows, shape (n,).
    xy, unit, origin
        x and y of each, shape (n, 2), their unit ("px" or "um"), and what they were taken from.
    factors
        Scale factors of the section, by name.
    notes
        What was left out.
    """

    rows: NDArray[np.int64]
    xy: NDArray[np.float64]
    unit: str
    origin: str
    factors: dict[str, Any]
    notes: list[str]


def placed_rows(source: TableSource, swap_xy: bool = False, library_id: str | None = None) -> PlacedRows:
    """Find the rows of one section, `library_id` if the table has several, that are under tissue and have a position.

    `read_anndata` documents where the positions are. `swap_xy` means that the first coordinate is y.
    """
    obs = source.obs()
    xy, unit, origin = _coordinates(source, obs)
    section, name, column = _section(source, obs, library_id)
    tissue = under_tissue(source.name, obs)
    placed = np.isfinite(xy).all(axis=1)
    rows = np.flatnonzero(section & tissue & placed)
    off, nowhere = section & placed & ~tissue, section & ~placed
    if not len(rows):
        finding = f"has numbers as position in {origin}" if nowhere.all() else "is under tissue (in_tissue = 1)"
        raise DataError(f"{source.name}: none of its {section.sum()} rows {finding}. Check the table.")
    unnamed = np.zeros(len(obs), bool) if column is None else obs[column].isna().to_numpy() & ~section
    odd = {
        "rows without a section": obs.index[unnamed],
        "rows not under tissue": obs.index[off],
        f"rows without a position in {origin}": obs.index[nowhere],
    }
    if swap_xy:
        xy, origin = xy[:, ::-1], f"{origin}, swapped"
    factors = _factors(source.libraries(), name)
    return PlacedRows(rows, np.ascontiguousarray(xy[rows]), unit, origin, factors, left_out(odd, len(rows)))


def _section(
    source: TableSource, obs: pd.DataFrame, wanted: str | None
) -> tuple[NDArray[np.bool_], str | None, str | None]:
    """Return the rows of the wanted section or of the only one, its name, and the column that has it, if known."""
    libraries = list(source.libraries())
    column = _section_column(obs, libraries, wanted)
    every = np.ones(len(obs), bool)
    if column is None:
        if wanted is not None and wanted not in libraries:
            raise DataError(f"{source.name}: no column of obs has the section {wanted!r}. Check `library_id`.")
        if _repeats_places(obs):
            raise DataError(
                f"{source.name}: many rows are at the same place of the array (array_row, array_col), so it holds "
                "several sections, but no column of obs tells them apart. Give each section a table of its own."
            )
        return every, wanted or (libraries[0] if len(libraries) == 1 else None), None
    names = obs[column].astype(object).astype(str)
    present = list(dict.fromkeys(names[obs[column].notna()]))
    if wanted is None and len(present) > 1:
        listed = ", ".join(map(repr, present[:10])) + (", ..." if len(present) > 10 else "")
        raise DataError(
            f"{source.name}: holds {len(present)} sections (obs[{column!r}]: {listed}), which are on different images. "
            "Choose one with `library_id`, and give its image."
        )
    if wanted is not None and wanted not in present:
        raise DataError(
            f"{source.name}: has no section {wanted!r}; obs[{column!r}] has {', '.join(map(repr, present[:10]))}. "
            "Choose one of these with `library_id`."
        )
    name = wanted or next(iter(present), None)
    return (every if name is None else (names == name).to_numpy(bool)), name, column


def _section_column(obs: pd.DataFrame, libraries: list[str], wanted: str | None) -> str | None:
    """Return the column of obs that names the section of each row, if the table has several sections or one is wanted.

    Such a column holds the names of the libraries in uns["spatial"]; or it is called so; or it separates rows that are
    at the same place of the array, or has the wanted name.
    """
    usual = {letters(name) for name in _LIBRARY}
    sections = {
        column: names for column in obs if (names := _names(obs[column], letters(str(column)) in usual)) is not None
    }
    spelled = [column for name in _LIBRARY for column in sections if letters(str(column)) == letters(name)]
    ordered = [*spelled, *(column for column in sections if column not in spelled)]
    for column in ordered:
        if len(libraries) > 1 and sections[column] and sections[column] <= set(libraries):
            return str(column)
    if spelled and letters(str(spelled[0])) == letters(_LIBRARY[0]):
        return str(spelled[0])
    if wanted is not None:
        return next((str(column) for column in ordered if wanted in sections[column]), None)
    if _repeats_places(obs):
        apart = (column for column in ordered if not _repeats_places(obs, str(column)))
        return next((str(column) for column in apart), None)
    return None


def _names(column: pd.Series, may_be_numbers: bool) -> set[str] | None:
    """Return the distinct texts of a column of few names; None if it is another one."""
    if (
        not may_be_numbers
        and pd.api.types.is_numeric_dtype(column)
        and not isinstance(column.dtype, pd.CategoricalDtype)
    ):
        return None
    distinct = column.dropna().unique()
    return {str(name) for name in distinct} if len(distinct) <= _MOST_SECTIONS else None


def _repeats_places(obs: pd.DataFrame, within: str | None = None) -> bool:
    """Return whether many rows are at a place of the array at which another row is, too (of the same name `within`)."""
    columns = ["array_row", "array_col"]
    if not set(columns) <= set(obs):
        return False
    repeated = obs.duplicated(columns if within is None else [*columns, within], keep=False)
    return bool(repeated.sum() > _REPEATED * len(obs))


def _factors(libraries: Mapping[str, Mapping[str, Any]], name: str | None) -> dict[str, Any]:
    """Return the scale factors of a library, or those that all libraries have in common."""
    if name is not None and name in libraries:
        return dict(libraries[name])
    first, *others = libraries.values() or [{}]
    return {key: value for key, value in first.items() if all(_same(other.get(key), value) for other in others)}


def _same(one: Any, other: Any) -> bool:
    return bool(np.shape(one) == np.shape(other) == () and one == other)


def _coordinates(source: TableSource, obs: pd.DataFrame) -> tuple[NDArray[np.float64], str, str]:
    """Return the centres of all rows, shape (n, 2), NaN where they are unknown, their unit and their origin."""
    present = {letters(str(column)): str(column) for column in reversed(list(obs))}
    columns = [
        (present[letters(x)], present[letters(y)], unit)
        for pairs, unit in ((_PIXELS, "px"), (_UM, "um"))
        for x, y in pairs
        if letters(x) in present and letters(y) in present
    ]
    for key in _OBSM:
        stored = source.coordinates(key)
        if stored is not None:
            origin = f"obsm[{key!r}]"
            xy = _xy(source.name, origin, len(obs), stored)
            in_um = [_columns(source.name, obs, x, y) for x, y, unit in columns if unit == "um"]
            repeats_um = any(np.allclose(xy, other, rtol=1e-5, atol=1e-3, equal_nan=True) for other in in_um)
            return xy, "um" if repeats_um else "px", origin
    if not columns:
        raise DataError(
            f"{source.name}: has no coordinates. Put x and y in pixels of the full-resolution image into "
            "obsm['spatial'], or into the columns pxl_col_in_fullres and pxl_row_in_fullres of obs."
        )
    x, y, unit = columns[0]
    return _columns(source.name, obs, x, y), unit, f"obs[{x!r}, {y!r}]"


def _columns(name: str, obs: pd.DataFrame, x: str, y: str) -> NDArray[np.float64]:
    return _xy(name, f"obs[{x!r}, {y!r}]", len(obs), obs[[x, y]].astype(object).to_numpy())


def _xy(name: str, origin: str, rows: int, values: NDArray[Any]) -> NDArray[np.float64]:
    if values.ndim != 2 or len(values) != rows or values.shape[1] < 2:
        raise DataError(f"{name}: {origin} is of shape {values.shape}; it must hold x and y of {rows} regions.")
    if values.dtype == object or values.dtype.kind in "OSUT":
        numbers = [pd.to_numeric(pd.Series(part), errors="coerce").to_numpy(np.float64) for part in values.T[:2]]
        return np.column_stack(numbers)
    try:
        return np.asarray(values[:, :2], np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: {origin} holds values that are not numbers.") from error
