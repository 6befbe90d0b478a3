"""What surrounds a place: the encoder's features, averaged over squares centred on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


class Surroundings:
    """Means of all of the encoder's levels over squares of several widths, at the deepest stride.

    They have no weights, so a frozen encoder's are computed once for a whole slide. A mean centred on each cell shows
    it its surroundings from half as far away as a further, coarser level would, and at the cost of a box filter.

    Parameters
    ----------
    widths_um
        Widths of the squares, in um; each is rounded to an odd number of cells.
    cell_um
        Side of a cell at the deepest stride, in um.

    Attributes
    ----------
    widths : tuple of int
        Widths in cells, all odd.
    radius : int
        Cells that the widest square reaches beyond its centre.
    """

    def __init__(self, widths_um: Sequence[float], cell_um: float) -> None:
        self.widths = tuple(2 * round((width / cell_um - 1) / 2) + 1 for width in widths_um)
        self.radius = max(self.widths, default=1) // 2

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
