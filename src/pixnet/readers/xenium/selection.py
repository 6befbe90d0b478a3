"""Selections of Xenium Explorer: areas that were drawn there, exported as CSV in um of the run."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import shapely

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.formats.image_transform import moved
from pixnet.readers.xenium.run import place_on
from pixnet.regions import Polygons
from pixnet.regions.packed_text import open_text

_NAME = "selection name"
_MOST_CORNERS = 1 << 22

Corners = list[tuple[float, float]]


def read_selection(path: Path, mpp: float, alignment: str | Path | None, run: Path | None) -> Polygons | None:
    """Read the areas as regions of a slide of `mpp` um per pixel; return None if the file is not a selection.

    A file has one area, named in a line that begins with "#", or several, named in its first column. `alignment` and
    `run` are as for `read_annotations`.
    """
    if path.suffix == ".parquet":
        return None
    areas = _areas(path)
    if areas is None:
        return None
    small = [name for name, corners in areas.items() if len(corners) < 3]
    if small or not areas:
        raise DataError(f"{path}: the selection {small[0] if small else ''!r} has fewer than three corners.")
    to_slide, notes = place_on(run or path.parent, mpp, alignment)
    if notes:
        warnings.warn(f"{path}: {'; '.join(notes)}.", PixNetWarning, stacklevel=4)
    shapes = [shapely.Polygon(moved(np.array(corners), to_slide)) for corners in areas.values()]
    return Polygons(shapes, list(areas), list(areas))


def _areas(path: Path) -> dict[str, Corners] | None:
    """Return the corners of each area, in um of the run, by its name; None if the header is another one."""
    areas: dict[str, Corners] = {}
    name, columns, corners = path.name.split(".")[0], None, 0
    with open_text(path, (".csv",)) as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not any(cell.strip() for cell in row):
                continue
            if row[0].startswith("#"):
                key, _, value = ",".join(row).lstrip("# ").partition(":")
                name = value.strip() if key.strip().lower() == _NAME and value.strip() else name
            elif columns is None:
                columns = [cell.strip().lower() for cell in row]
                if columns not in (["x", "y"], ["selection", "x", "y"]):
                    return None
            else:
                area = name if len(columns) == 2 else row[0]
                areas.setdefault(area, []).append(_corner(path, number, row[-2:]))
                corners += 1
                if corners > _MOST_CORNERS:
                    raise DataError(f"{path}: has over {_MOST_CORNERS:,} corners, so it is not a selection.")
    return None if columns is None else areas


def _corner(path: Path, number: int, cells: list[str]) -> tuple[float, float]:
    try:
        x, y = map(float, cells)
        if np.isfinite([x, y]).all():
            return x, y
    except ValueError:
        pass
    raise DataError(f"{path}: line {number} has {', '.join(cells)[:60]!r} as x and y; they must be numbers.")
