"""The pixels inside a sample's regions, and what the slide shows there: nuclear density and eosin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.evaluation.held_out import Floats
from pixnet.grid import Box, Grid
from pixnet.regions import Squares
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.glass import Glass
from pixnet.slide.stain import stain_densities
from pixnet.slide.tissue import otsu

PITCH_UM = 8.0
"""Side of a pixel."""

STAINS = ("nuclear density", "eosin")
"""What the slide shows in a pixel: the share of its area that is nucleus, and the mean optical density of eosin."""

_SIDE = 8  # points along the side of a pixel at which the slide is read
_FEWEST = 9  # pixels in a region
_MOST_REGIONS = 2000
_TILE = 128  # pixels along the side of what is read at once


@dataclass(frozen=True, eq=False)
class InsidePixels:
    """Pixels inside the regions of a sample.

    Attributes
    ----------
    rows
        (n,) the regions, as rows of the sample.
    squares
        (p,) the pixels.
    region
        (p,) which of the n regions a pixel is in.
    stains
        (p, 2) `STAINS` of each pixel.
    """

    rows: NDArray[np.int64]
    squares: Squares
    region: NDArray[np.int64]
    stains: Floats

    @property
    def stains_of_regions(self) -> Floats:
        """Mean of the stains over the pixels of each region, (n, 2)."""
        count = np.bincount(self.region, minlength=len(self.rows))
        sums = [np.bincount(self.region, column, minlength=len(self.rows)) for column in self.stains.T]
        return np.stack(sums, axis=1) / count[:, None]


def pixels_inside(sample: Sample, enough: NDArray[np.bool_]) -> InsidePixels:
    """Find the pixels of which at least half is inside a region, and read their stains off the slide.

    Only the regions with enough counts, (n,), are used, at most 2,000 of them, evenly over their order.

    Raises
    ------
    DataError
        If fewer than two of these regions have nine pixels or more.
    """
    rows = np.flatnonzero(enough)
    rows = rows[:: 1 + len(rows) // (_MOST_REGIONS + 1)]
    slide = sample.slide
    # Pixels that the slide covers completely.
    grid = Grid(0.0, 0.0, PITCH_UM, math.floor(slide.height_um / PITCH_UM), math.floor(slide.width_um / PITCH_UM))
    areas = sample.regions.take(rows).coverage(grid).tocoo()
    inside = areas.data >= 0.5 * grid.pixel_area_um2
    pixel, first = np.unique(areas.col[inside], return_index=True)  # overlapping regions do not share a pixel
    region = areas.row[inside][first]
    counts = np.bincount(region, minlength=len(rows))
    if (counts >= _FEWEST).sum() < 2:
        most = int(counts.max(initial=0))
        raise DataError(
            f"sample {sample.id!r}: its regions with enough counts hold at most {most} pixels of {PITCH_UM:g} um; the "
            f"compartment test looks inside regions and needs at least two with {_FEWEST} or more, such as spots."
        )
    usable = (counts >= _FEWEST)[region]
    kept = np.flatnonzero(counts >= _FEWEST)
    number = np.cumsum(counts >= _FEWEST) - 1
    row, col = np.divmod(pixel[usable], grid.width)
    stains = _stains(slide, row, col)
    slide.close()
    squares = Squares(0.0, 0.0, PITCH_UM, row, col)
    return InsidePixels(rows[kept], squares, number[region[usable]].astype(np.int64), stains)


def _stains(slide: Slide, row: NDArray[np.int64], col: NDArray[np.int64]) -> Floats:
    """Return nuclear density and eosin of pixels, (p, 2).

    A point of the slide is nucleus if its haematoxylin is above the threshold that splits all points best (Otsu 1979).
    """
    glass, haematoxylin = Glass.from_slide(slide), np.empty((len(row), _SIDE**2), np.float32)
    eosin = np.empty(len(row))
    tile = (row // _TILE) * (1 + col.max() // _TILE) + col // _TILE
    for number in np.unique(tile):
        own = np.flatnonzero(tile == number)
        top, left = row[own].min(), col[own].min()
        height, width = row[own].max() - top + 1, col[own].max() - left + 1
        box = Box(int(top) * _SIDE, int(left) * _SIDE, int(height) * _SIDE, int(width) * _SIDE)
        rgb, _ = slide.read_box(box, PITCH_UM / _SIDE)
        density = stain_densities(glass.whiten(rgb)).reshape(height, _SIDE, width, _SIDE, -1).transpose(0, 2, 1, 3, 4)
        of_pixels = density[row[own] - top, col[own] - left].reshape(len(own), _SIDE**2, -1)
        haematoxylin[own], eosin[own] = of_pixels[..., 0], of_pixels[..., 1].mean(axis=1)
    nucleus = haematoxylin > otsu(np.clip(haematoxylin, 0.0, 1.0))
    return np.stack([nucleus.mean(axis=1), eosin], axis=1)
