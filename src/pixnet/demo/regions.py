"""Across scales: the virtual slides to train on, the size of their regions, and the regions to predict.

A method is trained at one region size and then predicts regions of six sizes without more training: on the slides that
it was trained on, and on those of other donors. So the change of scale is measured without a change of platform, and
the change of donor beside it. See `docs/explanation/scales.md`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError
from pixnet.regions import Disks, LabelMask, Regions, Squares
from pixnet.sample import Sample
from pixnet.virtual.presets import TEST_SEEDS, frozen_digest, tissue_version
from pixnet.virtual.shifts import Shifts
from pixnet.virtual.tissue import VirtualTissue, spots

Floats = NDArray[np.float64]

TRAINING_SEEDS = ((11, 21), (12, 22), (13, 23), (14, 24))
"""Seeds of slide and donor of each training slide; none of them is a test seed."""

SIDES = ("training slides", "other donors")
"""The two groups of slides that are predicted."""

CELL = "whole cell"
PLACES = "places"
CELLS = "cells"
"""The set of points of whole cells; that of all other regions, which are centred on the same places, is `PLACES`."""

MARGIN_UM = 56.0
"""Least distance from a place to the slide's edge: half of a baseline's crop."""

_LATTICE_UM = 16
_MOST_SQUARES = 600  # of a training slide
_LARGEST_SQUARE_UM = 40.0  # up to here a training region is a bin, beyond it a spot
_LEAST_DENSITY = 500.0 / (math.pi * 50.0**2)  # 500 counts in a spot of 100 um


@dataclass(frozen=True)
class ScaleSettings:
    """The slides to train on, and the regions to predict."""

    shifts: ClassVar[Shifts | None] = None  # between donors

    preset: str
    # Of the training regions: the diameter of spots, or the side of bins up to 40 um. The training slides take turns.
    sizes_um: tuple[float, ...]
    # Slide and donor seed of each slide. No donor may be on both sides.
    training: tuple[tuple[int, int], ...] = TRAINING_SEEDS
    test: tuple[tuple[int, int], ...] = ()
    side_um: float = 1200.0  # of all slides
    places: int = 800  # most regions of each size on each slide
    genes: int = 100  # those of highest mean in the training regions
    seed: int = 0  # of the places, and of what is measured

    def __post_init__(self) -> None:
        if self.preset not in TEST_SEEDS:
            raise DataError(f"there is no virtual tissue {self.preset!r}; choose one of {', '.join(TEST_SEEDS)}.")
        if not self.sizes_um or not all(1.0 <= size <= 200.0 for size in self.sizes_um):
            raise DataError(f"training regions of {self.sizes_um} um cannot be used; give sizes from 1 to 200 um.")
        if not self.test:
            object.__setattr__(self, "test", TEST_SEEDS[self.preset])
        shared = {donor for _, donor in self.training} & {donor for _, donor in self.test}
        if shared:
            raise DataError(f"donor {min(shared)} is among training and test slides; leave it out of one of them.")

    @property
    def name(self) -> str:
        """Name of the settings, such as `breast-100um`, or `breast-100+55um`."""
        return f"{self.preset}-{'+'.join(f'{size:g}' for size in self.sizes_um)}um"

    @property
    def min_counts(self) -> int:
        """Fewest counts of a training region: 500 for a spot of 100 um, and in proportion for the smallest size."""
        return max(1, int(_LEAST_DENSITY * min(_area(size) for size in self.sizes_um)))

    @property
    def predicted(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """The slides to predict, by group."""
        return dict(zip(SIDES, (self.training, self.test), strict=True))

    def facts(self) -> dict[str, Any]:
        """Return all that the slides, their counts and the predicted regions depend on, except for the code."""
        version, frozen = tissue_version(self.shifts), frozen_digest(self.shifts)
        return {**dataclasses.asdict(self), "virtual_version": version, "frozen_digest": frozen}

    def draw(self, slide: tuple[int, int]) -> VirtualTissue:
        """Draw one of the slides, given by its two seeds."""
        return VirtualTissue.generate(self.preset, *slide, self.side_um, self.side_um, shifts=self.shifts)

    def regions(self, tissue: VirtualTissue) -> dict[str, Regions]:
        """Return the regions to predict on a slide, by the name of their size."""
        return regions_by_size(tissue, self.places, self.seed)


def training_sample(settings: ScaleSettings, tissue: VirtualTissue, number: int) -> Sample:
    """Measure a training slide, number `number`, as an assay of its region size would."""
    size = settings.sizes_um[number % len(settings.sizes_um)]
    side = settings.side_um
    if size > _LARGEST_SQUARE_UM:
        # Visium has 55 um at 100 um; larger spots are as close as possible with a gap between them.
        visium = size <= 90.0
        regions: Regions = spots(side, side, size, max(100.0, size + 10.0), hexagonal=visium)
    else:
        regions = Squares.tiling(0.0, 0.0, side - side % size, side - side % size, size)
        inside = _inside(regions.centers_um, tissue)
        regions = regions.take(_some(np.flatnonzero(inside), _MOST_SQUARES, settings.seed))
    return dataclasses.replace(tissue.measure(regions, settings.seed), id=slide_name(tissue))


def slide_name(tissue: VirtualTissue) -> str:
    """Return the name of a slide, which has its seed."""
    return f"{tissue.preset.name}-{tissue.seed}"


def regions_by_size(tissue: VirtualTissue, places: int, seed: int = 0) -> dict[str, Regions]:
    """Return the regions to predict on a slide, at most `places` of each, by the name of their size.

    Squares of 2, 8 and 16 um and disks of 55 and 100 um are centred on the same random places on tissue; whole cells,
    as the section shows them, are drawn at random on their own. All are at least 56 um away from the edge.

    Raises
    ------
    DataError
        If the slide has no room for two places and two cells.
    """
    height, width = tissue.labels.shape
    # Places are at 1 + 16 k um: then the squares of each size around them are of one lattice, and none is drawn twice.
    rows, cols = (np.arange(max(0, int((side - MARGIN_UM - 1) // _LATTICE_UM) + 1)) for side in (height, width))
    row, col = (index.ravel() for index in np.meshgrid(rows, cols, indexing="ij"))
    centers = 1.0 + _LATTICE_UM * np.stack([col, row], axis=1).astype(np.float64)
    is_open = np.array([zone.open for zone in tissue.preset.zones])
    zone = tissue.layout.zone[1 + _LATTICE_UM * row, 1 + _LATTICE_UM * col]
    usable = np.flatnonzero(_inside(centers, tissue) & ~is_open[zone])
    cells = LabelMask(tissue.labels, 0.0, 0.0, tissue.grid.pitch_um)
    whole = np.flatnonzero(_inside(cells.centers_um, tissue))
    if min(len(usable), len(whole)) < 2:
        raise DataError(f"a slide of {width} x {height} um has no room for places to compare at; make it larger.")
    chosen = _some(usable, places, seed)
    row, col, centers = row[chosen], col[chosen], centers[chosen]
    sets: dict[str, Regions] = {}
    for side in (2, 8, 16):
        step = _LATTICE_UM // side
        sets[f"{side}-µm square"] = Squares(1.0 - side / 2, 1.0 - side / 2, side, row * step, col * step)
    for diameter in (55, 100):
        sets[f"{diameter}-µm disk"] = Disks(centers, diameter)
    sets[CELL] = cells.take(_some(whole, places, seed))
    return sets


def points_of(name: str) -> str:
    """Return which of the two sets of points the regions of a name are centred on."""
    return CELLS if name == CELL else PLACES


def region_points(sets: Mapping[str, Regions]) -> dict[str, Floats]:
    """Return the two sets of points, (n, 2) each, that the regions are centred on."""
    return {points_of(name): regions.centers_um for name, regions in sets.items()}


def _inside(points: Floats, tissue: VirtualTissue) -> NDArray[np.bool_]:
    """Return whether each point keeps the margin."""
    height, width = tissue.labels.shape
    return np.asarray(((points >= MARGIN_UM) & (points <= np.array([width, height]) - MARGIN_UM)).all(axis=1))


def _some(usable: NDArray[np.int64], number: int, seed: int) -> NDArray[np.int64]:
    """Choose at most `number` at random, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(usable)[:number])


def _area(size_um: float) -> float:
    return size_um**2 if size_um <= _LARGEST_SQUARE_UM else math.pi * size_um**2 / 4.0
