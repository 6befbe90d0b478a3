"""Writing the store of a field: its arrays, the coarser levels of the pyramid, and finally its attributes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pixnet.digest import digest, file_digest
from pixnet.field.head import LinearHead
from pixnet.field.store import KEY, SEAL, Attributes, Level, level_grid
from pixnet.files import sync_tree
from pixnet.grid import Grid

_SHARD = 512  # longest side of a shard (a file) in pixels: writing a shard needs several times its memory
_CHUNK = 128  # longest side of a chunk in pixels; a chunk holds all channels, since genes and regions need them all
_CHUNK_BYTES = 4 << 20  # largest size of a chunk: with many channels its sides are shorter
_COARSEST = 256  # longest side of the coarsest level in pixels, at most
_AXES = ("y", "x")


class Block(NamedTuple):
    """A block of a level as it is stored: latent values (C, h, w) and shares of each pixel (h, w)."""

    latent: NDArray[Any] | None  # None where no pixel holds data
    valid: NDArray[np.float16]
    background: NDArray[np.float16]


def create_arrays(path: Path, grid: Grid, block: int, head: LinearHead, dtype: np.dtype[Any]) -> None:
    """Create a store with its empty arrays for the `grid` of level 0 and latent values of `dtype`, and write W and b.

    `block` is the side of a block in pixels. A block is written once, in shards that hold nothing else.
    """
    group = zarr.create_group(path, zarr_format=3, overwrite=True)
    _array(group, "W", head.W.shape, np.float32, head.W.shape, None, ("c", "gene"))[:] = head.W
    _array(group, "b", head.b.shape, np.float32, head.b.shape, None, ("gene",))[:] = head.b
    for level in range(count_levels(grid)):
        shape = level_grid(grid, level).shape
        block_side = block >> min(level, _levels_of_block(block) - 1)
        side = max(side for side in range(1, min(block_side, _SHARD) + 1) if block_side % side == 0)
        chunk = _chunk_side(side, head.channels, dtype)
        sizes = shape, (chunk, chunk), (side, side)
        latent_shape, latent_chunks, latent_shards = ((head.channels, *size) for size in sizes)
        _array(group, f"latent/{level}", latent_shape, dtype, latent_chunks, latent_shards, ("c", *_AXES))
        for name in ("valid", "background"):
            _array(group, f"{name}/{level}", shape, np.float16, (chunk, chunk), (side, side), _AXES)


def open_levels(path: Path) -> list[Level]:
    """Open the arrays of a store for writing, finest level first."""
    group = zarr.open_group(path, mode="r+", zarr_format=3)
    levels = len(list(group["latent"].array_keys()))  # type: ignore[union-attr]
    return [Level(*(group[f"{name}/{level}"] for name in Level._fields)) for level in range(levels)]  # type: ignore[arg-type]


def count_levels(grid: Grid) -> int:
    """Return the number of levels of the pyramid."""
    level = 0
    while max(level_grid(grid, level).shape) > _COARSEST:
        level += 1
    return level + 1


def pyramid(block: Block, side: int) -> list[Block]:
    """Return a block of level 0 and its coarser versions, for the levels that can be computed from this block alone.

    `side` is that of all blocks but those at the edge, in pixels.
    """
    blocks = [block]
    while len(blocks) < _levels_of_block(side):
        blocks.append(_coarser(blocks[-1]))
    return blocks


def write_block(levels: list[Level], row: int, col: int, blocks: list[Block]) -> set[str]:
    """Write a block and its coarser versions, as `pyramid` returns them, at a row and column of level 0.

    Return the files that were written, by their paths in the store.
    """
    # A small field has fewer levels than there are blocks. The further levels of a large one are filled by
    # `write_coarser_levels`.
    return {
        path
        for number, (level, block) in enumerate(zip(levels, blocks, strict=False))
        for path in _put(level, row >> number, col >> number, block)
    }


def write_coarser_levels(levels: list[Level], side: int) -> None:
    """Fill the levels that `write_block` did not write, each from the level before, one shard at a time.

    D is averaged by valid area, so the integral over a coarse pixel equals that over its four finer pixels.
    """
    for finer, coarser in itertools.pairwise(levels[_levels_of_block(side) - 1 :]):
        shard = _shard_side(coarser)
        for row, col in _shards(coarser, coarser.valid.shape):
            window = slice(2 * row, 2 * (row + shard)), slice(2 * col, 2 * (col + shard))
            valid, background = np.asarray(finer.valid[window]), np.asarray(finer.background[window])
            latent = np.asarray(finer.latent[(slice(None), *window)]) if valid.any() else None
            _put(coarser, row, col, _coarser(Block(latent, valid, background)))


def _levels_of_block(side: int) -> int:
    """Return the number of levels that are written with a block: as long as it can be halved to at least `_CHUNK`."""
    levels = 1
    while side % 2 == 0 and side // 2 >= _CHUNK:
        side, levels = side // 2, levels + 1
    return levels


def _shard_side(level: Level) -> int:
    """Return the side of a shard in pixels."""
    return int((level.latent.shards or level.latent.chunks)[1])


def _shards(level: Level, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield the first row and column of each shard that covers an array of a shape, relative to the first shard."""
    height, width = shape
    return itertools.product(range(0, height, _shard_side(level)), range(0, width, _shard_side(level)))


def _put(level: Level, row: int, col: int, block: Block) -> set[str]:
    """Write a block shard by shard, and return the files; shards that are zero everywhere are not written."""
    side, paths = _shard_side(level), set()
    for top, left in _shards(level, block.valid.shape):
        part = slice(top, top + side), slice(left, left + side)
        valid, background = block.valid[part], block.background[part]
        height, width = valid.shape
        window = slice(row + top, row + top + height), slice(col + left, col + left + width)
        shard = (row + top) // side, (col + left) // side
        if block.latent is not None and valid.any():
            level.latent[(slice(None), *window)] = block.latent[(slice(None), *part)]
            level.valid[window] = valid
            paths |= {_path(level.latent, 0, *shard), _path(level.valid, *shard)}
        if background.any():
            level.background[window] = background
            paths.add(_path(level.background, *shard))
    # Zarr writes no file for latent values that are all zero.
    root = Path(level.latent.store.root)  # type: ignore[attr-defined]
    return {path for path in paths if (root / path).is_file()}


def _path(array: Any, *shard: int) -> str:
    """Return the file of a shard, by its path in the store."""
    return f"{array.path}/{array.metadata.encode_chunk_key(shard)}"


def _coarser(block: Block) -> Block:
    """Average squares of four pixels, the latent values by their valid shares."""
    import torch  # as in pixnet.field.build.scaling

    valid, background = (_even(part.astype(np.float32)) for part in (block.valid, block.background))
    weight = _quarters(valid)
    coarser = Block(None, (weight / 4).astype(np.float16), (_quarters(background) / 4).astype(np.float16))
    if block.latent is None or not weight.any():
        return coarser
    # The shares are divided once, not for each channel.
    square = weight.repeat(2, 0).repeat(2, 1)
    shares = torch.from_numpy(np.divide(valid, square, out=np.zeros_like(valid), where=square > 0))
    means = np.empty((len(block.latent), *weight.shape), block.latent.dtype)
    for mean, values in zip(torch.from_numpy(means), block.latent, strict=True):
        mean.copy_(_quarters(torch.from_numpy(_even(values)).float() * shares))
    return coarser._replace(latent=means)


def data_files(path: Path) -> dict[str, int]:
    """Return the size in bytes of all files of a store but its top metadata."""
    files = (file for file in path.rglob("*") if file.is_file() and file != path / "zarr.json")
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in sorted(files)}


def array_digests(path: Path) -> dict[str, str]:
    """Return the SHA-256 of the metadata of each array of a store."""
    files = (file for file in path.rglob("zarr.json") if file != path / "zarr.json")
    return {file.relative_to(path).as_posix(): file_digest(file) for file in sorted(files)}


def finish(path: Path, attributes: Attributes) -> None:
    """Write the attributes, with their digest, which make the store complete; bring it to the disk."""
    grid = attributes.lattice.grid
    grids = {f"latent/{level}": level_grid(grid, level) for level in range(attributes.levels)}
    metadata: dict[str, Any] = {
        "ome": multiscales(attributes.slide.name, grids),
        KEY: attributes.model_dump(mode="json", exclude={SEAL}),
    }
    metadata[KEY][SEAL] = digest(metadata)
    zarr.open_group(path, mode="r+", zarr_format=3).attrs.put(metadata)
    sync_tree(path)


def multiscales(name: str, grids: dict[str, Grid]) -> dict[str, Any]:
    """Return OME-NGFF 0.5 metadata, by which viewers place a pyramid: the group's attribute `ome`.

    `grids` holds the grid of each level by the path of its array (c, y, x), finest level first.
    """
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in _AXES]
    datasets = []
    for path, grid in grids.items():
        pitch = grid.pitch_um
        transforms: list[dict[str, Any]] = [
            {"type": "scale", "scale": [1.0, pitch, pitch]},
            # OME-NGFF gives the position of a pixel's centre; a grid begins at a corner.
            {"type": "translation", "translation": [0.0, grid.y_um + pitch / 2, grid.x_um + pitch / 2]},
        ]
        datasets.append({"path": path, "coordinateTransformations": transforms})
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}


def _array(group: zarr.Group, name: str, shape: Any, dtype: Any, chunks: Any, shards: Any, axes: Any) -> Any:
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        dimension_names=axes,
        fill_value=0,
        # With a checksum, a damaged byte is an error and not a wrong number.
        compressors=ZstdCodec(level=1, checksum=True),
    )


def _chunk_side(block: int, channels: int, dtype: np.dtype[Any]) -> int:
    """Return the longest side of a chunk that divides a block and keeps chunks small."""
    sides = [side for side in range(1, min(_CHUNK, block) + 1) if block % side == 0]
    small = [side for side in sides if side <= 32 or channels * side**2 * dtype.itemsize <= _CHUNK_BYTES]
    return small[-1]


def _even(values: NDArray[Any]) -> NDArray[Any]:
    """Append a row or column of zeros where their number is odd."""
    height, width = values.shape
    return np.pad(values, [(0, height % 2), (0, width % 2)]) if height % 2 or width % 2 else values


def _quarters(values: Any) -> Any:
    """Return the sum of the four pixels of each coarser pixel, for arrays and tensors."""
    rows = values[::2] + values[1::2]
    return rows[:, ::2] + rows[:, 1::2]
