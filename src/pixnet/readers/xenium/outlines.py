"""Outlines of the cells and nuclei of a Xenium run, from tables of their vertices."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, PixNetWarning, first_line
from pixnet.readers.formats.files import required_file
from pixnet.readers.formats.image_transform import Floats, moved
from pixnet.readers.formats.parquet import parquet_batches, parquet_columns
from pixnet.readers.xenium.run import Run, place_on
from pixnet.regions import Polygons
from pixnet.regions.tangles import is_tangled

_LEAST_UM2 = 1e-6  # a smaller area is that of a line, with rounding errors


def read_outlines(run: Run, stem: str) -> tuple[list[str], NDArray[np.object_]]:
    """Read names and outlines on the slide, in the order of the file `stem`, of the cells of a run that have an area.

    A cell can have several parts. Notes about outlines that were put right or left out are added to the run.
    """
    path = required_file(run.folder, [f"{stem}.parquet", f"{stem}.csv.gz", f"{stem}.csv"])
    return outlines_of(path, run.to_slide, run.notes)


def read_boundaries(path: Path, mpp: float, alignment: str | Path | None = None) -> Polygons:
    """Read the outlines of cells or nuclei as regions of a slide of `mpp` um per pixel, without the rest of the run.

    `path` is a file of vertices, such as `cell_boundaries.parquet`, and `alignment` a CSV file of the matrix from
    pixels of the slide to pixels of the morphology image; by default the `*he_imagealignment.csv` beside `path`, which
    needs `experiment.xenium` too. Warns if there is no alignment, or something is left out or put right.
    """
    to_slide, notes = place_on(path.parent, mpp, alignment)
    names, shapes = outlines_of(path, to_slide, notes)
    if notes:
        warnings.warn(f"{path}: {'; '.join(notes)}.", PixNetWarning, stacklevel=2)
    return Polygons(list(shapes), names)


def outlines_of(path: Path, to_slide: Floats, notes: list[str]) -> tuple[list[str], NDArray[np.object_]]:
    """Read the outlines of a file of vertices, as `read_outlines` does, and add notes about them to `notes`."""
    import shapely

    names, cell, part, xy = _vertices(path)
    xy = moved(xy, to_slide)
    usable = np.isfinite(xy).all(axis=1) & (cell < len(names))
    cell, part, xy = cell[usable], part[usable], xy[usable]
    order = np.lexsort((part, cell))  # stable, so that the vertices of a ring keep their order
    cell, part, xy = cell[order], part[order], xy[order]
    is_first = np.ones(len(cell), bool)
    is_first[1:] = (np.diff(cell) != 0) | (np.diff(part) != 0)
    start = np.flatnonzero(is_first)
    size = np.diff(start, append=len(cell))
    closed = (xy[start] == xy[start + size - 1]).all(axis=1)
    is_ring = size - closed >= 3
    in_ring = np.repeat(is_ring, size)
    try:
        rings = shapely.linearrings(xy[in_ring], indices=np.repeat(np.arange(is_ring.sum()), size[is_ring]))
        shapes = shapely.polygons(np.atleast_1d(rings))
        crossed = np.flatnonzero(~shapely.is_valid(shapes))
        for index in crossed:
            if is_tangled(shapes[index]):
                shapes[index] = shapely.Polygon()  # left out with those without area
        shapes[crossed] = shapely.make_valid(shapes[crossed], method="structure", keep_collapsed=False)
        owner = cell[start[is_ring]]
        solid = (shapely.area(shapes) > _LEAST_UM2) & shapely.is_valid(shapes)
        owner, shapes = owner[solid], shapes[solid]
        several = np.isin(owner, owner[1:][np.diff(owner) == 0])
        cells, first = np.unique(owner, return_index=True)
        shapes_of = shapes[first]
        for place in np.flatnonzero(several[first]):
            shapes_of[place] = shapely.union_all(shapes[owner == cells[place]])
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise DataError(f"{path}: has outlines that are not polygons ({first_line(error)}). Copy it again.") from error
    if not len(cells):
        raise DataError(f"{path}: has no outline with an area. Copy it again.")
    if repaired := int(solid[crossed].sum()):
        notes.append(f"{repaired} outlines in {path.name} cross themselves and were put right")
    if without_area := len(names) - len(cells):
        notes.append(f"{without_area} outlines in {path.name} have no area and are left out")
    return [names[index] for index in cells], shapes_of


def _vertices(path: Path) -> tuple[list[str], NDArray[np.int64], Floats, Floats]:
    """Read names of cells, and for each vertex the place of its cell, the number of its part, and x and y, (n, 2)."""
    number: dict[str, int] = {}
    cells, parts, places = [np.empty(0, np.int64)], [np.empty(0)], [np.empty((0, 2))]
    if path.suffix == ".parquet":
        columns = ["vertex_x", "vertex_y"] + (["label_id"] if "label_id" in parquet_columns(path) else [])
        tables = parquet_batches(path, columns, ["cell_id"])
    else:
        tables = iter([_vertices_of_csv(path)])
    for table in tables:
        names, code = table["cell_id"]
        # Rows without a cell point beyond the list, to a place that no cell can have.
        known = np.array([number.setdefault(name, len(number)) for name in names] + [1 << 62], np.int64)
        cells.append(known[code])
        parts.append(np.nan_to_num(table.get("label_id", np.zeros(len(code)))))
        places.append(np.column_stack([table["vertex_x"], table["vertex_y"]]))
    return list(number), np.concatenate(cells), np.concatenate(parts), np.concatenate(places)


def _vertices_of_csv(path: Path) -> dict[str, Any]:
    """Read the vertices of outlines from a CSV file, plain or compressed, as from `parquet_batches` but all at once.

    Columns are `vertex_x`, `vertex_y`, and `label_id` if the file has it, as numbers, and `cell_id` as texts.
    """
    try:
        table = pd.read_csv(path, dtype={"cell_id": str})
        code, names = pd.factorize(table["cell_id"])
        columns = [name for name in ("vertex_x", "vertex_y", "label_id") if name in table or name != "label_id"]
        numbers: dict[str, Any] = {name: table[name].to_numpy(np.float64) for name in columns}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}). Copy it again.") from error
    except KeyError as error:
        raise DataError(f"{path}: has no column {error}; it needs cell_id, vertex_x and vertex_y.") from error
    except (ValueError, EOFError, zlib.error, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is not a table of vertices ({first_line(error)}). Copy it again.") from error
    return {**numbers, "cell_id": (list(names), np.where(code < 0, len(names), code))}
