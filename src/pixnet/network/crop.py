"""Part of a level of the feature pyramid, with its position."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from pixnet.grid import Box

if TYPE_CHECKING:
    from collections.abc import Sequence


class Crop(NamedTuple):
    """One level of a pyramid for T tiles: maps (T, C, h, w), and the first row and column of each, in its pixels."""

    feature: Tensor
    rows: Sequence[int]
    cols: Sequence[int]

    @property
    def boxes(self) -> list[Box]:
        """Box of each tile's map."""
        height, width = self.feature.shape[-2:]
        return [Box(row, col, height, width) for row, col in zip(self.rows, self.cols, strict=True)]

    def cut(self, boxes: Sequence[Box]) -> Crop:
        """Return each tile's map cut to its box; all boxes have the same size."""
        tiles = [
            tile[:, box.row - row : box.row - row + box.height, box.col - col : box.col - col + box.width]
            for tile, box, row, col in zip(self.feature, boxes, self.rows, self.cols, strict=True)
        ]
        # The cut of a single tile is a view, not a copy.
        cut = tiles[0][None] if len(tiles) == 1 else torch.stack(tiles)
        return Crop(cut, [box.row for box in boxes], [box.col for box in boxes])

    def doubled(self, up: nn.Module) -> Crop:
        """Return the maps upsampled to half the pixel size by the module `up`."""
        return Crop(up(self.feature), [2 * row for row in self.rows], [2 * col for col in self.cols])
