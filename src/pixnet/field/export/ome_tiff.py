"""A pyramid of gene maps as tiled OME-TIFF, for QuPath and other programs that use Bio-Formats."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from pixnet.field.export.image import TILE, tiles, write_levels
from pixnet.field.export.request import Request
from pixnet.grid import Grid

_BIG = 3 << 30  # uncompressed size in bytes above which a BigTIFF is written


def write_ome_tiff(request: Request, path: Path) -> None:
    """Write one float32 page per gene, with its coarser levels as sub-images; NaN means no data or background.

    A TIFF is written page by page, but the field is read block by block for all genes. So the maps are written to a
    temporary Zarr group first.
    """
    scratch = path.with_name("maps.zarr")
    arrays = write_levels(request, scratch)
    grids = request.grids
    size = 4 * len(request.genes) * sum(grid.size for grid in grids)
    with tifffile.TiffWriter(path, bigtiff=size > _BIG, ome=True) as file:
        for array, grid in zip(arrays, grids, strict=True):
            first = array is arrays[0]
            dots_per_cm = 1e4 / grid.pitch_um
            file.write(
                _tiles(array, grid),
                shape=(len(request.genes), *grid.shape),
                dtype=np.float32,
                tile=(TILE, TILE),
                photometric="minisblack",
                compression="zlib",
                resolution=(dots_per_cm, dots_per_cm),
                resolutionunit="CENTIMETER",
                subifds=len(grids) - 1 if first else None,
                subfiletype=0 if first else 1,
                metadata=_ome(request, grid) if first else None,
            )
    shutil.rmtree(scratch)


def _tiles(array: zarr.Array[Any], grid: Grid) -> Iterator[NDArray[np.float32]]:
    """Yield all tiles of all genes in the order of a TIFF; those at the edge are padded with NaN."""
    for gene in range(array.shape[0]):
        for box in tiles(grid):
            tile = np.full((TILE, TILE), np.nan, np.float32)
            rows, cols = slice(box.row, box.row + box.height), slice(box.col, box.col + box.width)
            tile[: box.height, : box.width] = np.asarray(array[gene, rows, cols])
            yield tile


def _ome(request: Request, grid: Grid) -> dict[str, Any]:
    facts = request.facts
    return {
        "axes": "CYX",
        "Name": facts["slide"],
        "Description": f"{facts['units']}; slide {facts['slide_fingerprint']}; pixnet {facts['pixnet_version']}",
        "Channel": {"Name": list(request.genes)},
        "PhysicalSizeX": grid.pitch_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": grid.pitch_um,
        "PhysicalSizeYUnit": "µm",
    }
