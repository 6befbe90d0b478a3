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

    The same encoder looks at a coarser image, where it sees the build of the tissue rather than single cells, at a
    sixteenth of the cost. The means have no weights, so a frozen encoder's are computed once for a whole slide. Centred
    on each cell they show it its surroundings from half as far away as a further, coarser level would.

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
        Cells around a place that can influence what is told of it.
    """

    def __init__(self, widths_um: Sequence[float], cell_um: float, zoom: int) -> None:
        self.widths = tuple(2 * round((width / cell_um - 1) / 2) + 1 for width in widths_um)
        self.zoom = zoom
        # One more than half a square, for what lies between the centres of four cells.
        self.radius = max(self.widths, default=1) // 2 + (zoom > 1)

    def __call__(self, levels: Sequence[Tensor]) -> Tensor:
        """Give the surroundings from the far image's levels: (T, widths * sum of C_l, zoom * h, zoom * w)."""
        return self.finer(self.means(self.gather(levels)))

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

    def finer(self, means: Tensor) -> Tensor:
        """Interpolate means (T, C, h, w) to the deepest cells of the finer image: (T, C, zoom * h, zoom * w)."""
        return F.interpolate(means, scale_factor=self.zoom, mode="bilinear") if self.zoom > 1 else means
