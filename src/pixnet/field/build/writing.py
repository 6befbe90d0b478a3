"""Writing the store of a field: its arrays, the coarser levels of the pyramid, and at last what it says of itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pixnet.field.head import LinearHead
from pixnet.field.ngff import multiscales
from pixnet.field.store import KEY, Attributes, Level, level_grid
from pixnet.grid import Grid

_SHARD = 512  # longest side of a file, in cells: what is written at once is held several times over
_CHUNK = 128  # longest side of a chunk, in cells; a chunk holds all channels, for a gene and a region need them all
_CHUNK_BYTES = 4 << 20  # chunks of many channels get shorter sides
_COARSEST = 256  # cells: the longest side of the coarsest level, at most
_EDGES = ("y", "x")


class Block(NamedTuple):
    """A block of a level as it is stored.

    Attributes
    ----------
    latent
        (C, h, w); None where no cell holds data.
    valid, background
        (h, w) float16, shares of each cell.
    """

    latent: NDArray[Any] | None
    valid: NDArray[np.float16]
    background: NDArray[np.float16]


def create_arrays(path: Path, grid: Grid, block: int, head: LinearHead, dtype: np.dtype[Any]) -> None:
    """Begin a store: its empty arrays, with W and b written beside them.

    Parameters
    ----------
    path
        The folder.
    grid
        The finest cells.
    block
        Side of a block in cells. It is written once and for all, as files of its own (shards).
    head, dtype
        The head, and how the latent map is stored.
    """
    group = zarr.create_group(path, zarr_format=3, overwrite=True)
    _array(group, "W", head.W.shape, np.float32, head.W.shape, None, ("c", "gene"))[:] = head.W
    _array(group, "b", head.b.shape, np.float32, head.b.shape, None, ("gene",))[:] = head.b
    for level in range(count_levels(grid)):
        shape = level_grid(grid, level).shape
        side = _divisor(block >> min(level, _levels_of_block(block) - 1), _SHARD)
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


def pyramid(block: Block, side: int) -> list[Block]:
    """Give a block of the finest level and what becomes of it in coarser ones, as far as that follows from it alone.

    Blocks are `side` cells wide but at the edge.
    """
    blocks = [block]
    while len(blocks) < _levels_of_block(side):
        blocks.append(_coarser(blocks[-1]))
    return blocks


def write_block(levels: list[Level], row: int, col: int, blocks: list[Block]) -> None:
    """Write a block at a row and column of cells of the finest level, and its coarser ones, as `pyramid` gives them."""
    # A small field has fewer levels, and a large one has more, which `write_coarser_levels` fills.
    for number, (level, block) in enumerate(zip(levels, blocks, strict=False)):
        _put(level, row >> number, col >> number, block)


def write_coarser_levels(levels: list[Level], side: int) -> None:
    """Fill the levels that `write_block` has left, each from the one before, a file at a time.

    D is averaged by valid area, so the integral over a coarse cell is that over the cells it is made of.
    """
    for finer, coarser in itertools.pairwise(levels[_levels_of_block(side) - 1 :]):
        shard = _shard(coarser)
        for row, col in _files(coarser, coarser.valid.shape):
            within = slice(2 * row, 2 * (row + shard)), slice(2 * col, 2 * (col + shard))
            valid, background = np.asarray(finer.valid[within]), np.asarray(finer.background[within])
            latent = np.asarray(finer.latent[(slice(None), *within)]) if valid.any() else None
            _put(coarser, row, col, _coarser(Block(latent, valid, background)))


def _levels_of_block(side: int) -> int:
    """Give how many levels hold whole files made of one block: those in which it can be halved and is not small."""
    levels = 1
    while side % 2 == 0 and side // 2 >= _CHUNK:
        side, levels = side // 2, levels + 1
    return levels


def _shard(level: Level) -> int:
    """Give the side of what lies in one file."""
    return int((level.latent.shards or level.latent.chunks)[1])


def _files(level: Level, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Give the first row and column of each file over some cells of a level, from those of a file on."""
    height, width = shape
    return itertools.product(range(0, height, _shard(level)), range(0, width, _shard(level)))


def _put(level: Level, row: int, col: int, block: Block) -> None:
    """Write what there is of a block, file by file; what is zero all over is in no file."""
    side = _shard(level)
    for top, left in _files(level, block.valid.shape):
        part = slice(top, top + side), slice(left, left + side)
        valid, background = block.valid[part], block.background[part]
        height, width = valid.shape
        window = slice(row + top, row + top + height), slice(col + left, col + left + width)
        if block.latent is not None and valid.any():
            level.latent[(slice(None), *window)] = block.latent[(slice(None), *part)]
            level.valid[window] = valid
        if background.any():
            level.background[window] = background


def _coarser(block: Block) -> Block:
    """Average squares of four cells, the latent values by their valid shares."""
    import torch  # as in pixnet.field.build.scaling

    valid, background = (_even(part.astype(np.float32)) for part in (block.valid, block.background))
    weight = _quarters(valid)
    coarser = Block(None, (weight / 4).astype(np.float16), (_quarters(background) / 4).astype(np.float16))
    if block.latent is None or not weight.any():
        return coarser
    # Divided once, and not for every channel.
    square = weight.repeat(2, 0).repeat(2, 1)
    shares = torch.from_numpy(np.divide(valid, square, out=np.zeros_like(valid), where=square > 0))
    means = np.empty((len(block.latent), *weight.shape), block.latent.dtype)
    for mean, values in zip(torch.from_numpy(means), block.latent, strict=True):
        mean.copy_(_quarters(torch.from_numpy(_even(values)).float() * shares))
    return coarser._replace(latent=means)


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


def _divisor(number: int, most: int) -> int:
    """Give the largest divisor up to `most`."""
    return next(divisor for divisor in range(min(number, most), 0, -1) if number % divisor == 0)


def _even(values: NDArray[Any]) -> NDArray[Any]:
    """Add a row and a column of zeros where the cells do not come in pairs."""
    height, width = values.shape
    return np.pad(values, [(0, height % 2), (0, width % 2)]) if height % 2 or width % 2 else values


def _quarters(values: Any) -> Any:
    """Add up the four cells of each coarser one; for arrays and tensors alike."""
    rows = values[::2] + values[1::2]
    return rows[:, ::2] + rows[:, 1::2]
