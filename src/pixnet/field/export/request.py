"""What a user wants to be exported, checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pixnet.errors import FieldError
from pixnet.field.read.maps import Readout, genes_readout
from pixnet.grid import Grid
from pixnet.regions import Regions, Squares

if TYPE_CHECKING:
    from pixnet.field.field import ExpressionField

Progress = Callable[[int, int], None]
"""Called with the work done and the work in all."""


@dataclass(frozen=True)
class Order:
    """An export, but for its format.

    Parameters
    ----------
    field
        The field.
    genes
        Names of the genes.
    log
        Whether a `rate` head's counts are given as log1p of counts per 10,000.
    level
        The finest level of the pyramid that goes into an image.
    regions
        The regions of a table, or None for squares that cover the slide.
    grid_um
        Side of those squares; None where none are wanted.
    progress
        Told how far it is.
    """

    field: ExpressionField
    genes: tuple[str, ...]
    log: bool
    level: int
    regions: Regions | None
    grid_um: float | None
    progress: Progress

    @property
    def readout(self) -> Readout:
        """What is wanted of each cell; FieldError if a gene is not in the field."""
        return genes_readout(self.field._store, self.genes, self.log)

    @property
    def grids(self) -> list[Grid]:
        """Grids of the image's levels, finest first; FieldError if there is no such level."""
        self.field.level_grid(self.level)
        return [self.field.level_grid(level) for level in range(self.level, self.field.levels)]

    @property
    def wants_regions(self) -> bool:
        """Whether regions or a grid of squares were asked for."""
        return self.regions is not None or self.grid_um is not None

    @property
    def facts(self) -> dict[str, Any]:
        """What an export must carry to be understood later."""
        slide = self.field.attributes.slide
        return {
            "units": self.readout.units,
            "slide": slide.name,
            "slide_fingerprint": slide.fingerprint,
            "mpp": slide.mpp,
            "pixnet_version": self.field.attributes.pixnet_version,
            "made_from": self.field.attributes.made_from,
        }

    def make_regions(self, region_bytes: int, value_bytes: int, largest_gb: float) -> Regions:
        """Give the regions, or the squares that cover the slide.

        Raises
        ------
        FieldError
            If there are no regions, if a table of so many regions and genes, at so many bytes each, would be too large,
            or if the squares' side is no positive number.
        """
        slide = self.field.attributes.lattice
        side = self.grid_um or 0.0
        if self.regions is not None:
            number = len(self.regions)
            if not number:
                raise FieldError("there are no regions to export; give at least one.")
        elif not (math.isfinite(side) and side > 0):
            raise FieldError(f"squares of {self.grid_um} um: their side must be a positive number of um.")
        else:
            # Counted before any is made: a slip of the point would ask for billions.
            number = math.ceil(slide.width_um / side) * math.ceil(slide.height_um / side)
        gigabytes = number * (region_bytes + value_bytes * len(self.genes)) / 1e9
        if gigabytes > largest_gb:
            raise FieldError(
                f"{number} regions x {len(self.genes)} genes would take about {gigabytes:.1f} GB (at most "
                f"{largest_gb:g} GB in this format); give a coarser grid or fewer genes."
            )
        if self.regions is not None:
            return self.regions
        return Squares.tiling(0.0, 0.0, slide.width_um, slide.height_um, side)


def steps(count: int, step: int) -> Iterator[slice]:
    """Cut `count` things into successive parts of at most `step`."""
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
