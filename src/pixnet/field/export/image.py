"""Maps of genes as a pyramid of Zarr arrays, written tile by tile; shared by the image formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pixnet.field.export.request import Request, steps
from pixnet.field.read.maps import read_values
from pixnet.grid import Box, Grid

TILE = 512  # side of a tile, in pixels of the field
_GENES = 32  # maps computed at once


def write_levels(request: Request, path: Path) -> list[zarr.Array[Any]]:
    """Write the maps of all levels as arrays 0, 1, ... (c, y, x) of a new Zarr group; a chunk is a tile of one gene."""
    group = zarr.create_group(path, zarr_format=3)
    grids, arrays = request.grids, []
    done, total = 0, sum(len(list(tiles(grid))) for grid in grids)
    request.progress(done, total)
    for number, grid in enumerate(grids):
        array = group.create_array(
            str(number),
            shape=(len(request.genes), *grid.shape),
            chunks=(1, TILE, TILE),
            dtype=np.float32,
            dimension_names=("c", "y", "x"),
            fill_value=float("nan"),  # a chunk without data is not written
            compressors=ZstdCodec(level=1),
        )
        arrays.append(array)
        for box in tiles(grid):
            window = slice(box.row, box.row + box.height), slice(box.col, box.col + box.width)
            for part in steps(len(request.genes), _GENES):
                values = read_values(request.store, request.readout.take(part), request.finest_level + number, box)
                array[(part, *window)] = values
            done += 1
            request.progress(done, total)
    return arrays


def tiles(grid: Grid) -> Iterator[Box]:
    """Yield tiles that cover a grid, row by row; those at the right and bottom edge may be smaller."""
    for rows in steps(grid.height, TILE):
        for cols in steps(grid.width, TILE):
            yield Box(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)


def display_ranges(coarsest: zarr.Array[Any]) -> list[tuple[float, float, float]]:
    """Return smallest value, largest value and the upper end of a good display range for each gene.

    Parameters
    ----------
    coarsest
        Maps (c, y, x) of the coarsest level, which is small.
    """
    ranges = []
    for gene in range(coarsest.shape[0]):
        values: NDArray[np.float32] = np.asarray(coarsest[gene])
        known = values[np.isfinite(values)]
        if not len(known):
            known = np.zeros(1, np.float32)
        smallest, largest = float(known.min()), float(known.max())
        ranges.append((smallest, largest, float(np.quantile(known, 0.995))))
    return ranges
