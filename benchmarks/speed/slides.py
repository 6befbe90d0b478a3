"""Slides of any size as pyramidal TIFFs of JPEG tiles, made of one repeated piece of virtual tissue."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from pixnet.virtual import VirtualTissue

_PIECE_UM = 512.0
_TILE = 256
_STEP = 4  # between levels, as in the files of most scanners


def write_slide(path: Path, side: int, mpp: float = 0.25) -> None:
    """Write a square slide full of tissue.

    Each different tile is compressed only once, so a slide of any size takes seconds and little memory.

    Parameters
    ----------
    path
        File to write.
    side
        Pixels along each side.
    mpp
        um per pixel.
    """
    piece = VirtualTissue.generate("breast", 0, 0, _PIECE_UM, _PIECE_UM, mpp).slide.thumbnail(1 << 20)[0]
    levels = 1 + max(0, math.ceil(math.log(side / 1024, _STEP)))
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(levels):
            level_side = side // _STEP**level
            writer.write(
                _tiles(piece, level_side),
                shape=(level_side, level_side, 3),
                dtype=np.uint8,
                tile=(_TILE, _TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                resolution=(1e4 / (mpp * _STEP**level),) * 2,
                resolutionunit="CENTIMETER",
                subifds=levels - 1 if level == 0 else None,
                subfiletype=int(level > 0),
                metadata=None,
            )
            piece = _coarser(piece)


def _tiles(piece: NDArray[np.uint8], side: int) -> Iterator[bytes]:
    """Yield the compressed tiles of a level, row by row."""
    repeats = math.ceil(_TILE / len(piece))
    piece = np.tile(piece, (repeats, repeats, 1))
    period, count = len(piece) // _TILE, math.ceil(side / _TILE)
    rows = [np.split(row, period, axis=1) for row in np.split(piece, period)]
    coded = [[imagecodecs.jpeg_encode(tile, level=85, subsampling="420") for tile in row] for row in rows]
    for row in range(count):
        for col in range(count):
            yield coded[row % period][col % period]


def _coarser(piece: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the next level: means of squares of pixels."""
    side = len(piece) // _STEP
    means = piece.reshape(side, _STEP, side, _STEP, 3).mean(axis=(1, 3), dtype=np.float32)
    return np.asarray(means + 0.5, np.uint8)
