"""Maps on disk in square blocks: only those that are needed, each with a checksum, in a file that only grows.

All levels share one lattice of blocks, `side` image pixels wide. A block is appended to the file `blocks`, and then its
record to the file `index`. So what a killed process leaves is valid up to its last record, and several processes may
read while one writes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import ModelError
from pixnet.grid import Box

_RECORD = np.dtype([("level", "<i4"), ("row", "<i4"), ("col", "<i4"), ("checksum", "<u4")])
_MOST_BLOCKS = 1 << 24  # on the lattice; a slide of 250,000 x 250,000 px has as many
_AGAIN = "Delete the folder, so that its features are computed again."


class Level(NamedTuple):
    """The blocks of a level: pixels along their side, channels, and numpy's name of the type of number."""

    side: int
    channels: int
    dtype: str

    @property
    def bytes(self) -> int:
        """Bytes of a block."""
        return self.side**2 * self.channels * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Area:
    """Blocks of some levels: `chosen`, shape (levels, rows, columns), starts at block `row`, `col` of the lattice."""

    row: int
    col: int
    chosen: NDArray[np.bool_]

    @classmethod
    def around(cls, boxes: NDArray[np.integer[Any]], margins: Sequence[int], side: int) -> Area:
        """Return the blocks that boxes with a margin touch.

        `boxes` are first row, first column, last row, last column in image pixels, shape (k, 4); each level has a
        margin of its own.
        """
        first = np.stack([(boxes[:, :2] - margin) // side for margin in margins])
        last = np.stack([-(-(boxes[:, 2:] + margin) // side) for margin in margins])
        row, col = (int(first[..., axis].min()) for axis in (0, 1))
        height, width = (int(last[..., axis].max() - start) for axis, start in ((0, row), (1, col)))
        first, last = first - (row, col), last - (row, col)
        # Corners of the boxes, whose running sums in both directions count the boxes that hold a block.
        corners = np.zeros((len(margins), height + 1, width + 1), np.int32)
        for level, (start, stop) in enumerate(zip(first, last, strict=True)):
            for rows, cols, sign in ((start, start, 1), (stop, stop, 1), (start, stop, -1), (stop, start, -1)):
                np.add.at(corners[level], (rows[:, 0], cols[:, 1]), sign)
        return cls(row, col, corners.cumsum(1).cumsum(2)[:, :height, :width] > 0)

    def without(self, other: Area) -> Area:
        """Return the blocks that are not in another area."""
        return Area(self.row, self.col, self.chosen & ~other.window(self.row, self.col, self.chosen.shape[1:]))

    def window(self, row: int, col: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return which blocks of a rectangle are chosen, (levels, *shape); none outside."""
        return _window(self.chosen, row - self.row, col - self.col, shape, False)


class BlockFile:
    """The blocks of one folder; several threads may read.

    Parameters
    ----------
    folder
        Folder of the files `blocks` and `index`; neither need exist.
    levels
        What the blocks of each level hold.

    Raises
    ------
    ModelError
        If there are fewer bytes than the index says.
    """

    def __init__(self, folder: Path, levels: Sequence[Level]) -> None:
        self.folder = folder
        self.levels = tuple(levels)
        self._sizes = np.array([level.bytes for level in levels])
        self.reload()

    def reload(self) -> None:
        """Read the index, which another process may have extended."""
        raw = self._file("index").read_bytes() if self._file("index").is_file() else b""
        records = np.frombuffer(raw[: len(raw) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)
        if len(records) and not (records["level"].min() >= 0 and records["level"].max() < len(self.levels)):
            raise ModelError(f"{self._file('index')}: is damaged. {_AGAIN}")
        ends = np.cumsum(self._sizes[records["level"]])
        self._count, self._bytes = len(records), int(ends[-1]) if len(ends) else 0
        data = self._file("blocks")
        if self._bytes > (data.stat().st_size if data.is_file() else 0):
            raise ModelError(f"{data}: is shorter than its index says; it was cut or not copied completely. {_AGAIN}")
        self._row, self._col = (int(records[axis].min()) if len(records) else 0 for axis in ("row", "col"))
        rows, cols = records["row"].astype(np.int64) - self._row, records["col"].astype(np.int64) - self._col
        shape = (len(self.levels), int(rows.max(initial=-1)) + 1, int(cols.max(initial=-1)) + 1)
        if shape[1] * shape[2] > _MOST_BLOCKS:
            raise ModelError(f"{self._file('index')}: is damaged. {_AGAIN}")
        at = (records["level"], rows, cols)
        self._offset = np.full(shape, -1, np.int64)
        self._offset[at] = ends - self._sizes[records["level"]]
        self._checksum = np.zeros(shape, np.uint32)
        self._checksum[at] = records["checksum"]
        self._checked = np.zeros(shape, bool)

    @property
    def area(self) -> Area:
        """The blocks that are stored."""
        return Area(self._row, self._col, self._offset >= 0)

    def append(self, blocks: Sequence[Mapping[tuple[int, int], NDArray[Any]]]) -> None:
        """Add blocks of each level, by row and column; no other process may write. The index is read by `reload`."""
        records, data = [], []
        for number, (level, found) in enumerate(zip(self.levels, blocks, strict=True)):
            for (row, col), values in found.items():
                content = np.ascontiguousarray(values, level.dtype).tobytes()
                records.append((number, row, col, _checksum(number, row, col, content)))
                data.append(content)
        size = sum(map(len, data))
        _write(self._file("blocks"), self._bytes, b"".join(data))
        _write(self._file("index"), self._count * _RECORD.itemsize, np.array(records, _RECORD).tobytes())
        self._bytes, self._count = self._bytes + size, self._count + len(records)

    def read(self, boxes: Mapping[int, Box]) -> list[NDArray[Any]]:
        """Return a box of pixels of each of some levels, (height, width, channels); zeros where no block is stored."""
        with self._file("blocks").open("rb", buffering=0) as file:
            return [self._read(file, number, box) for number, box in boxes.items()]

    def _read(self, file: BinaryIO, number: int, box: Box) -> NDArray[Any]:
        level = self.levels[number]
        side = level.side
        row, col = box.row // side, box.col // side
        rows, cols = -(-(box.row + box.height) // side) - row, -(-(box.col + box.width) // side) - col
        place = row - self._row, col - self._col, (rows, cols)
        offset = _window(self._offset[number], *place, -1).ravel()
        blocks = np.zeros((rows * cols, side, side, level.channels), level.dtype)
        stored = np.flatnonzero(offset >= 0)
        # Blocks that follow each other in the file are read at once.
        breaks = np.flatnonzero((np.diff(stored) != 1) | (np.diff(offset[stored]) != level.bytes)) + 1
        for run in np.split(stored, breaks) if len(stored) else []:
            file.seek(offset[run[0]])
            if file.readinto(blocks[run[0] : run[-1] + 1].reshape(-1).view(np.uint8).data) != len(run) * level.bytes:  # type: ignore[attr-defined]
                raise ModelError(f"{self._file('blocks')}: cannot be read to its end. {_AGAIN}")
        for index in np.flatnonzero(~_window(self._checked[number], *place, True).ravel() & (offset >= 0)):
            self._check(number, row + int(index) // cols, col + int(index) % cols, blocks[index])
        joined = blocks.reshape(rows, cols, side, side, -1).swapaxes(1, 2).reshape(rows * side, cols * side, -1)
        return joined[Box(box.row - row * side, box.col - col * side, box.height, box.width).window]

    def _check(self, number: int, row: int, col: int, block: NDArray[Any]) -> None:
        """Compare a block with its checksum; this is done the first time that it is read."""
        at = number, row - self._row, col - self._col
        if _checksum(number, row, col, block.tobytes()) != self._checksum[at]:
            raise ModelError(f"{self._file('blocks')}: is damaged: a block differs from its checksum. {_AGAIN}")
        self._checked[at] = True

    def _file(self, name: str) -> Path:
        return self.folder / name


def _checksum(level: int, row: int, col: int, content: bytes) -> int:
    """Return the CRC-32 of a block and of its place, so that a record that was changed is noticed too."""
    return zlib.crc32(content, zlib.crc32(np.array([level, row, col], "<i4").tobytes()))


def _write(path: Path, start: int, content: bytes) -> None:
    """Write bytes at a position, behind which the file may hold what a killed process left, and wait for the disk."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _window(array: NDArray[Any], row: int, col: int, shape: tuple[int, ...], fill: Any) -> NDArray[Any]:
    """Return a rectangle of the last two axes, which may reach beyond the array; `fill` is what is there."""
    height, width = array.shape[-2:]
    result = np.full((*array.shape[:-2], *shape), fill, array.dtype)
    rows, cols = (
        (max(start, 0), min(start + extent, limit))
        for start, extent, limit in ((row, shape[0], height), (col, shape[1], width))
    )
    if rows[1] > rows[0] and cols[1] > cols[0]:
        result[..., rows[0] - row : rows[1] - row, cols[0] - col : cols[1] - col] = array[
            ..., slice(*rows), slice(*cols)
        ]
    return result
