"""Part of a level of the feature pyramid, and where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from pixnet.grid import Box

if TYPE_CHECKING:
    from collections.abc import Sequence


class Crop(NamedTuple):
    """One level of a pyramid for a batch of tiles: the maps, and where each tile's map starts, in the level's cells."""

    feature: Tensor  # (T, C, h, w)
    rows: Sequence[int]
    cols: Sequence[int]

    @property
    def boxes(self) -> list[Box]:
        """Where each tile's map lies."""
        height, width = self.feature.shape[-2:]
        return [Box(row, col, height, width) for row, col in zip(self.rows, self.cols, strict=True)]

    def cut(self, boxes: Sequence[Box]) -> Crop:
        """Cut each tile's map to its box; all boxes are of one size."""
        tiles = [
            tile[:, b.row - r : b.row - r + b.height, b.col - c : b.col - c + b.width]
            for tile, b, r, c in zip(self.feature, boxes, self.rows, self.cols, strict=True)
        ]
        # Of a single tile the cut is a view.
        cut = tiles[0][None] if len(tiles) == 1 else torch.stack(tiles)
        return Crop(cut, [b.row for b in boxes], [b.col for b in boxes])

    def doubled(self, up: nn.Module) -> Crop:
        """Bring the maps to half the cell by a step up."""
        return Crop(up(self.feature), [2 * row for row in self.rows], [2 * col for col in self.cols])
