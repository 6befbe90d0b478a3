"""Whether regions and slide fit together, by what is true of every platform.

Regions of one section do not overlap much, and those of an array are not much farther apart than they are wide. Where
that does not hold, two facts contradict each other: the size of the regions and their positions. The reason is mostly a
wrong pixel size, or several sections in one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import spatial

from pixnet.regions import Disks, Polygons, Regions
from pixnet.slide import Slide

_PLACES = 20_000  # that are looked at; neighbours mostly follow each other
_SAME_UM = 1e-3
_REGULAR = 0.6  # share of the regions of an array whose nearest neighbour is as far as the others'
_AS_FAR = 0.1
_TOUCHING = 0.9  # of the diameter: spots of an array are at least as far apart
_CELLS_APART = 0.5  # cells that are drawn as disks overlap a little
_LARGEST_CELL_UM = 30.0  # wider disks are spots of an array, even if two arrays lie upon each other
_FAR_APART = 8.0
_LEAST_REGIONS = 10  # whose distances say something
_INSIDE_ANOTHER = 0.3  # share of the polygons


@dataclass(frozen=True)
class Contradiction:
    """Two facts about regions and slide that cannot both be true.

    Attributes
    ----------
    level
        "error" if the regions cannot be where they are; "warning" if that is unlikely.
    text, advice
        The two facts, and what to do, in full sentences.
    value
        Numbers behind the text, by name.
    """

    level: Literal["error", "warning"]
    text: str
    advice: str
    value: Mapping[str, Any] = field(default_factory=dict)


def contradictions(slide: Slide, regions: Regions) -> list[Contradiction]:
    """Return the facts about measured regions and their slide that contradict each other."""
    chosen = regions.take(np.arange(min(len(regions), _PLACES)))
    if len(chosen) < 2 or not isinstance(chosen, Disks | Polygons):
        return []  # squares are those of a lattice, which cannot overlap
    centres = chosen.centers_um
    nearest = np.asarray(spatial.cKDTree(centres).query(centres, k=2)[0], np.float64)[:, 1]
    found = list(_in_one_place(nearest))
    if not found and isinstance(chosen, Disks) and len(chosen) >= _LEAST_REGIONS:
        found = list(_spacing(slide, float(np.median(chosen.diameters_um)), nearest))
    if not found and isinstance(chosen, Polygons):
        found = list(_inside_another(chosen, centres))
    return found


def _in_one_place(nearest: NDArray[np.float64]) -> Iterator[Contradiction]:
    same = int((nearest < _SAME_UM).sum())
    if same:
        yield Contradiction(
            "error" if same > len(nearest) / 2 else "warning",
            f"{same} of {len(nearest)} regions are at the place of another one, but a section has one region at a "
            "place.",
            "If the table holds several sections, give one of them, with its image.",
            {"regions": len(nearest), "in_one_place": same},
        )


def _spacing(slide: Slide, diameter_um: float, nearest: NDArray[np.float64]) -> Iterator[Contradiction]:
    """Compare the distance of neighbours with the diameter of disks."""
    apart = float(np.median(nearest))
    regular = bool((np.abs(nearest - apart) <= _AS_FAR * apart).mean() >= _REGULAR)
    array = regular or diameter_um > _LARGEST_CELL_UM
    ratio = apart / diameter_um
    facts = (
        f"The regions are {diameter_um:.4g} um wide, but their nearest neighbours are {apart:.3g} um apart (at "
        f"{slide.mpp:.4g} um per pixel, {slide.mpp_source})"
    )
    value = {"diameter_um": diameter_um, "apart_um": apart, "mpp": slide.mpp, "regular": regular}
    if ratio < (_TOUCHING if array else _CELLS_APART):
        yield Contradiction(
            "error" if array or ratio < _CELLS_APART / 2 else "warning",
            f"{facts}: they would overlap.",
            "Give the right pixel size as `mpp`, or the right size of the regions; if the table holds several "
            "sections, give one of them.",
            value,
        )
    elif regular and ratio > _FAR_APART:
        yield Contradiction(
            "warning",
            f"{facts}: arrays are less sparse.",
            "Give the right pixel size as `mpp`, or the right size of the regions.",
            value,
        )


def _inside_another(polygons: Polygons, centres: NDArray[np.float64]) -> Iterator[Contradiction]:
    """Count the polygons whose centre is inside another one."""
    index = shapely.STRtree(polygons.shapes).query(shapely.points(centres), predicate="within")
    inside = len(np.unique(index[0][index[0] != index[1]]))
    if inside > _INSIDE_ANOTHER * len(centres):
        yield Contradiction(
            "warning",
            f"{inside} of {len(centres)} regions have their centre inside another region, but cells do not lie upon "
            "each other.",
            "If the outlines are of several sections, give those of one of them, with its image.",
            {"regions": len(centres), "inside_another": inside},
        )
