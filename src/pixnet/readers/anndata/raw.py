"""Positions, image and counts of an AnnData as the table has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pixnet.readers.anndata.counts import gene_names
from pixnet.readers.anndata.reader import coordinates
from pixnet.readers.anndata.source import TableSource, open_table
from pixnet.readers.formats.pitch import hexagonal_pitch, pitch
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.slide.formats import SUFFIXES

if TYPE_CHECKING:
    from pixnet.readers.platforms import AnnDataEntry


def raw_places(entry: AnnDataEntry, raw: RawFiles) -> None:
    """Fill in the coordinates of a table; see `RawReader`."""
    table_places(entry.path, entry.swap_xy, raw)
    measure_pitch(raw)


def raw_counts(entry: AnnDataEntry) -> RawCounts:
    """Return the counts as written; see `RawReader`."""
    with open_table(entry.path) as source:
        return counts_of(source, entry.layer or "X")


def counts_of(source: TableSource, layer: str) -> RawCounts:
    """Return a layer of a table as it is written, and the names of its genes."""
    return source.matrix(layer), gene_names(source.genes(layer))[0]


def table_places(path: Path, swap_xy: bool, raw: RawFiles) -> None:
    """Fill in the coordinates of a table, and its image if that is not given.

    Parameters
    ----------
    path
        The table; the image is looked for beside it, or in `wsis/` as HEST has it.
    swap_xy
        Whether the first coordinate is y.
    raw
        Is filled in.
    """
    if raw.image is None:
        folder = path.parent.parent / "wsis" if path.parent.name == "st" else path.parent
        files = sorted(folder.glob(f"{path.stem}.*"))
        raw.image = next((file for file in files if file.suffix.lower() in SUFFIXES), None)
    with open_table(path) as source:
        raw.xy_px, raw.unit, _ = coordinates(source, swap_xy)
        obs = source.obs()
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
