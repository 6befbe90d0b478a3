"""What surrounds a place: the encoder's features of a coarser image, averaged over squares centred on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


class Surroundings:
    """Means of all of the encoder's levels over squares of several widths, at the deepest stride.

    The same encoder looks at a coarser image, where it sees the build of the tissue rather than single cells. The means
    have no weights, so a frozen encoder's are computed once for a whole slide. Centred on each cell they show it its
    surroundings from half as far away as a further, coarser level would.

    Parameters
    ----------
    widths_um
        Widths of the squares, in um; each is rounded to an odd number of cells.
    cell_um
        Side of a cell at the deepest stride of the coarser image, in um.
    zoom
        Deepest cells of the finer image along one of the coarser.

    Attributes
    ----------
    widths : tuple of int
        Widths in cells, all odd.
    radius : int
        Cells that the widest square reaches beyond its centre.
    """

    def __init__(self, widths_um: Sequence[float], cell_um: float, zoom: int) -> None:
        self.widths = tuple(2 * round((width / cell_um - 1) / 2) + 1 for width in widths_um)
        self.zoom = zoom
        self.radius = max(self.widths, default=1) // 2

    def __call__(self, levels: Sequence[Tensor]) -> Tensor:
        """Give the means from the far image's levels: (T, widths * sum of C_l, h, w)."""
        return self.means(self.gather(levels))

    def reach(self, margin: int) -> int:
        """Say how many cells around a tile's own the means within a margin, in cells of the finer image, depend on."""
        # The outermost fine centre lies (margin - 1/2) / zoom beyond the tile; interpolation takes the cell beyond it.
        return -(-(2 * margin - 1 + self.zoom) // (2 * self.zoom)) + self.radius

    @staticmethod
    def gather(levels: Sequence[Tensor]) -> Tensor:
        """Average every level (T, C_l, h_l, w_l) over the deepest level's cells: (T, sum of C_l, h, w)."""
        deepest = levels[-1].shape[-1]
        return torch.cat([F.avg_pool2d(level, level.shape[-1] // deepest) for level in levels], dim=1)

    def means(self, gathered: Tensor) -> Tensor:
        """Average the gathered levels (T, C, h, w) over each square: (T, widths * C, h, w).

        Right `radius` cells away from the map's edge and further in; nearer, over that part of a square which there is.
        """
        means = []
        for width in self.widths:
            # A box is a column of rows: two passes along one axis each.
            rows = F.avg_pool2d(gathered, (width, 1), 1, (width // 2, 0), count_include_pad=False)
            means.append(F.avg_pool2d(rows, (1, width), 1, (0, width // 2), count_include_pad=False))
        return torch.cat(means, dim=1)

    def finer(self, means: Tensor, rows: slice, cols: slice) -> Tensor:
        """Interpolate the means (T, C, h, w) to some cells of the finer image: (T, C, rows, cols).

        Both slices count its cells from the corner of the map, from 0.
        """
        zoom = self.zoom
        if zoom == 1:
            return means[:, :, rows, cols]
        # Of the means no more than these cells lie between: the whole would be zoom^2 times as large, and mostly halo.
        near, inside = [], []
        for cells in (rows, cols):
            first = max(cells.start // zoom - 1, 0)
            near.append(slice(first, -(-cells.stop // zoom) + 1))
            inside.append(slice(cells.start - zoom * first, cells.stop - zoom * first))
        return F.interpolate(means[:, :, *near], scale_factor=zoom, mode="bilinear")[:, :, *inside]
