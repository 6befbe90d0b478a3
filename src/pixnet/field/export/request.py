"""What a user wants to export."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pixnet.errors import FieldError
from pixnet.field.read.maps import Readout, genes_readout
from pixnet.field.store import FieldStore, SlideFacts
from pixnet.grid import Grid
from pixnet.regions import Regions, Squares


class Sizes(NamedTuple):
    """Sizes of a region and of a value in a format, in bytes, and the largest export in it, in GB."""

    region_bytes: int
    value_bytes: int
    largest_gb: float


@dataclass(frozen=True, eq=False)
class Request:
    """An export of some genes of a field, whatever its format; see `ExpressionField.export`."""

    store: FieldStore
    genes: tuple[str, ...]
    log: bool = False
    level: int | None = None
    regions: Regions | None = None
    grid_um: float | None = None
    progress: Callable[[int, int], None] | None = None

    @property
    def slide(self) -> SlideFacts:
        """The slide that the field was made from."""
        return self.store.attributes.slide

    @property
    def readout(self) -> Readout:
        """How the values of a pixel are computed."""
        return genes_readout(self.store, self.genes, self.log)

    @property
    def finest_level(self) -> int:
        """Finest level of the pyramid in an image."""
        return self.level or 0

    @property
    def grids(self) -> list[Grid]:
        """Grids of an image's levels, finest first."""
        finest = self.store.level_grid(self.finest_level)
        return [finest, *map(self.store.level_grid, range(self.finest_level + 1, len(self.store.levels)))]

    @property
    def has_regions(self) -> bool:
        """Whether the export has regions, either given or squares."""
        return self.regions is not None or self.grid_um is not None

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that an export needs to be understood later."""
        return {
            "units": self.readout.units,
            "slide": self.slide.name,
            "slide_fingerprint": self.slide.fingerprint,
            "mpp": self.slide.mpp,
            "pixnet_version": self.store.attributes.pixnet_version,
            "made_from": self.store.attributes.made_from,
        }

    def report(self, done: int, total: int) -> None:
        """Report how much of the work is done."""
        if self.progress is not None:
            self.progress(done, total)

    def make_regions(self, sizes: Sizes) -> Regions:
        """Return the regions, or the squares that cover the slide; raise FieldError if the export would be too large.

        Regions must not be empty, and the side of squares must be a positive number.
        """
        extent = self.store.attributes.lattice
        side = self.grid_um or 0.0
        if self.regions is not None:
            count = len(self.regions)
            if not count:
                raise FieldError("`regions` is empty, so there are no regions to export; give at least one.")
        elif not (math.isfinite(side) and side > 0):
            raise FieldError(f"`grid_um` is {self.grid_um}; the side of the squares must be a positive number of um.")
        else:
            # Counted before they are made: a misplaced decimal point could mean billions of squares.
            count = math.ceil(extent.width_um / side) * math.ceil(extent.height_um / side)
        gigabytes = count * (sizes.region_bytes + sizes.value_bytes * len(self.genes)) / 1e9
        if gigabytes > sizes.largest_gb:
            raise FieldError(
                f"{count} regions x {len(self.genes)} genes would take about {gigabytes:.1f} GB (at most "
                f"{sizes.largest_gb:g} GB in this format); give a coarser grid or fewer genes."
            )
        if self.regions is not None:
            return self.regions
        return Squares.tiling(0.0, 0.0, extent.width_um, extent.height_um, side)


def steps(count: int, step: int) -> Iterator[slice]:
    """Yield successive slices of at most `step` that cover a sequence of length `count`."""
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
