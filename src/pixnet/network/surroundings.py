"""Surroundings of a pixel: the encoder's features of a coarser image, averaged over squares centred on the pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


class Surroundings:
    """Means of all levels of the encoder over squares of several widths, at the deepest stride.

    The same encoder is applied to a coarser image, where it sees the structure of the tissue rather than single cells.
    The means have no weights, so those of a frozen encoder are computed once for a complete slide. They are centred on
    each pixel, and therefore reach only half as far from it as one more, coarser level would.

    Parameters
    ----------
    widths_um
        Widths of the squares, in um; each is rounded to an odd number of pixels.
    pixel_um
        Side of a pixel at the deepest stride of the coarser image, in um.
    zoom
        Pixels at the deepest stride of the finer image along one of the coarser image.
    """

    def __init__(self, widths_um: Sequence[float], pixel_um: float, zoom: int) -> None:
        self.widths = tuple(2 * round((width / pixel_um - 1) / 2) + 1 for width in widths_um)
        self.zoom = zoom
        self.radius = max(self.widths, default=1) // 2

    def __call__(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the means of the coarser image's levels, shape (T, widths * sum of C_l, h, w)."""
        return self.means(self.gather(levels))

    def reach(self, margin: int) -> int:
        """Return how many coarse pixels around a tile the means within a margin around it depend on.

        The margin is in pixels at the deepest stride of the finer image.
        """
        # The outermost fine centre is (margin - 1/2) / zoom beyond the tile; interpolation uses the next coarse pixel.
        return -(-(2 * margin - 1 + self.zoom) // (2 * self.zoom)) + self.radius

    @staticmethod
    def gather(levels: Sequence[Tensor]) -> Tensor:
        """Return every level (T, C_l, h_l, w_l) averaged over the pixels of the deepest: (T, sum of C_l, h, w)."""
        deepest = levels[-1].shape[-1]
        return torch.cat([F.avg_pool2d(level, level.shape[-1] // deepest) for level in levels], dim=1)

    def means(self, gathered: Tensor) -> Tensor:
        """Return the gathered levels (T, C, h, w) averaged over each square: (T, widths * C, h, w).

        Within `radius` pixels of the map's edge, the mean is over the part of the square inside the map.
        """
        return torch.cat([self.mean(gathered, width) for width in self.widths], dim=1)

    @staticmethod
    def mean(maps: Tensor, width: int) -> Tensor:
        """Return maps (T, C, h, w) averaged over the square around each pixel, of an odd number of pixels."""
        # The mean over a square is separable: two passes along one axis each.
        rows = F.avg_pool2d(maps, (width, 1), 1, (width // 2, 0), count_include_pad=False)
        return F.avg_pool2d(rows, (1, width), 1, (0, width // 2), count_include_pad=False)

    def finer(self, means: Tensor, rows: slice, cols: slice) -> Tensor:
        """Return the means (T, C, h, w) interpolated to some pixels of the finer image: (T, C, rows, cols).

        Both slices count pixels at the deepest stride of the finer image, from 0 at the corner of the map.
        """
        zoom = self.zoom
        if zoom == 1:
            return means[:, :, rows, cols]
        # Only the means near these pixels are interpolated: all of them would be zoom^2 times as large, mostly halo.
        near, inside = [], []
        for pixels in (rows, cols):
            first = max(pixels.start // zoom - 1, 0)
            near.append(slice(first, -(-pixels.stop // zoom) + 1))
            inside.append(slice(pixels.start - zoom * first, pixels.stop - zoom * first))
        return F.interpolate(means[:, :, *near], scale_factor=zoom, mode="bilinear")[:, :, *inside]
