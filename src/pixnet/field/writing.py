"""Writing the store of a field: its arrays, the coarser levels of the pyramid, and at last what it says of itself."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pixnet.field.head import LinearHead
from pixnet.field.ngff import multiscales
from pixnet.field.store import KEY, Attributes, Level, level_grid
from pixnet.grid import Grid

_CHUNK = 128  # longest side of a chunk, in cells; a chunk holds all channels, for a gene and a region need them all
_CHUNK_BYTES = 4 << 20  # chunks of many channels get shorter sides
_COARSEST = 256  # cells: the longest side of the coarsest level, at most
_EDGES = ("y", "x")


def create_arrays(path: Path, grid: Grid, block: int, head: LinearHead, dtype: np.dtype[Any]) -> None:
    """Begin a store: its empty arrays, with W and b written beside them.

    Parameters
    ----------
    path
        The folder.
    grid
        The finest cells.
    block
        Side of a block in cells. A block is a file of its own (a shard), so it can be written once and for all.
    head, dtype
        The head, and how the latent map is stored.
    """
    group = zarr.create_group(path, zarr_format=3, overwrite=True)
    _array(group, "W", head.W.shape, np.float32, head.W.shape, None, ("c", "gene"))[:] = head.W
    _array(group, "b", head.b.shape, np.float32, head.b.shape, None, ("gene",))[:] = head.b
    for level in range(count_levels(grid)):
        shape = level_grid(grid, level).shape
        # A coarser block is made from what fits one block's memory: half its side.
        side = block if level == 0 or block % 2 else block // 2
        chunk = _chunk_side(side, head.channels, dtype)
        for name in Level._fields:
            if name == "latent":
                sizes = [(head.channels, *size) for size in (shape, (chunk, chunk), (side, side))]
                _array(group, f"latent/{level}", sizes[0], dtype, sizes[1], sizes[2], ("c", *_EDGES))
            else:
                _array(group, f"{name}/{level}", shape, np.float16, (chunk, chunk), (side, side), _EDGES)


def open_levels(path: Path) -> list[Level]:
    """Open the arrays of a store for writing, finest level first."""
    group = zarr.open_group(path, mode="r+", zarr_format=3)
    levels = len(list(group["latent"].array_keys()))  # type: ignore[union-attr]
    return [Level(*(group[f"{name}/{level}"] for name in Level._fields)) for level in range(levels)]  # type: ignore[arg-type]


def count_levels(grid: Grid) -> int:
    """Give the number of levels of the pyramid."""
    level = 0
    while max(level_grid(grid, level).shape) > _COARSEST:
        level += 1
    return level + 1


def write_coarser_levels(levels: list[Level]) -> None:
    """Fill all levels but the finest, each from the one before, a block at a time.

    D is averaged by valid area, so the integral over a coarse cell is that over the cells it is made of.
    """
    for finer, coarser in itertools.pairwise(levels):
        side = (coarser.latent.shards or coarser.latent.chunks)[1]
        height, width = coarser.valid.shape
        for row in range(0, height, side):
            for col in range(0, width, side):
                window = slice(row, min(row + side, height)), slice(col, min(col + side, width))
                within = tuple(slice(2 * part.start, 2 * part.stop) for part in window)
                valid, background = (
                    _even(np.asarray(array[within]).astype(np.float32)) for array in (finer.valid, finer.background)
                )
                coarser.background[window] = _quarters(background) / 4
                weight = _quarters(valid)
                coarser.valid[window] = weight / 4
                if weight.any():
                    sums = _quarters(_even(np.asarray(finer.latent[(slice(None), *within)]).astype(np.float32)) * valid)
                    means = np.divide(sums, weight, out=np.zeros_like(sums), where=weight > 0)
                    coarser.latent[(slice(None), *window)] = means.astype(coarser.latent.dtype)


def data_files(path: Path) -> dict[str, int]:
    """Give all files of a store but its top metadata, each with its size in bytes."""
    files = (file for file in path.rglob("*") if file.is_file() and file != path / "zarr.json")
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in sorted(files)}


def finish(path: Path, attributes: Attributes) -> None:
    """Write the attributes, which make the store complete."""
    grid = attributes.lattice.grid
    grids = {f"latent/{level}": level_grid(grid, level) for level in range(attributes.levels)}
    everything: dict[str, Any] = {
        "ome": multiscales(attributes.slide.name, grids),
        KEY: attributes.model_dump(mode="json"),
    }
    zarr.open_group(path, mode="r+", zarr_format=3).attrs.put(everything)


def _array(group: zarr.Group, name: str, shape: Any, dtype: Any, chunks: Any, shards: Any, axes: Any) -> Any:
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        dimension_names=axes,
        fill_value=0,
        # A changed byte is then an error and not a wrong number.
        compressors=ZstdCodec(level=1, checksum=True),
    )


def _chunk_side(block: int, channels: int, dtype: np.dtype[Any]) -> int:
    """Give the longest side of a chunk that divides a block and keeps chunks small."""
    sides = [side for side in range(1, min(_CHUNK, block) + 1) if block % side == 0]
    small = [side for side in sides if side <= 32 or channels * side**2 * dtype.itemsize <= _CHUNK_BYTES]
    return small[-1]


def _even(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add a row and a column of zeros where the cells do not come in pairs."""
    height, width = values.shape[-2:]
    if height % 2 or width % 2:
        values = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, height % 2), (0, width % 2)])
    return values


def _quarters(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add up the four cells of each coarser one."""
    rows = values[..., ::2, :] + values[..., 1::2, :]
    return rows[..., ::2] + rows[..., 1::2]
