"""Maps of genes as a pyramid of arrays on disk, written block by block; what the image formats have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pixnet.field.export.request import Order, steps
from pixnet.field.read.maps import read_values
from pixnet.grid import Box, Grid

TILE = 512  # side of a tile, in cells
_GENES = 32  # maps made at once


def write_levels(order: Order, path: Path) -> list[zarr.Array[Any]]:
    """Write the maps of all levels as arrays 0, 1, ... (c, y, x) of a new Zarr group, one gene and tile a chunk."""
    group = zarr.create_group(path, zarr_format=3)
    grids, arrays = order.grids, []
    done, total = 0, sum(len(list(tiles(grid))) for grid in grids)
    order.progress(done, total)
    for number, grid in enumerate(grids):
        array = group.create_array(
            str(number),
            shape=(len(order.genes), *grid.shape),
            chunks=(1, TILE, TILE),
            dtype=np.float32,
            dimension_names=("c", "y", "x"),
            fill_value=float("nan"),  # a chunk without data is not written
            compressors=ZstdCodec(level=1),
        )
        arrays.append(array)
        for box in tiles(grid):
            window = slice(box.row, box.row + box.height), slice(box.col, box.col + box.width)
            for part in steps(len(order.genes), _GENES):
                values = read_values(order.field._store, order.readout.take(part), order.level + number, box)
                array[(part, *window)] = values
            done += 1
            order.progress(done, total)
    return arrays


def tiles(grid: Grid) -> Iterator[Box]:
    """Cut a grid into tiles, row by row; the last ones may be smaller."""
    for rows in steps(grid.height, TILE):
        for cols in steps(grid.width, TILE):
            yield Box(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)


def display_ranges(coarsest: zarr.Array[Any]) -> list[tuple[float, float, float]]:
    """Give, for each gene, its least and largest value and the end of a range that shows it well.

    They are taken from the coarsest level, which is small.
    """
    ranges = []
    for gene in range(coarsest.shape[0]):
        values: NDArray[np.float32] = np.asarray(coarsest[gene])
        known = values[np.isfinite(values)]
        if not len(known):
            known = np.zeros(1, np.float32)
        least, largest = float(known.min()), float(known.max())
        ranges.append((least, largest, float(np.quantile(known, 0.995))))
    return ranges
