"""Positions, image and counts as a sample's files have them, before its reader judges them.

The module of each reader has the two functions of `RawReader`. An inspection uses them to explain why the reader
refuses a sample.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.slide import Slide

MOST_PLACES = 100_000
"""Positions that an inspection uses; more are thinned out."""

Places = NDArray[np.float64]
RawCounts = tuple[sparse.csr_matrix, list[str]]
"""Counts as written, shape (n, g), and the names of the genes."""


@dataclass
class RawFiles:
    """The parts of a sample that could be read; the rest is None.

    Attributes
    ----------
    xy_px
        x and y as written, shape (n, 2), in pixels of the image, or (unit "um") in um.
    unit
        "px" or "um".
    pitch_px, pitch_um
        Distance of neighbouring regions as written, and as the platform makes it.
    slide
        The image, if it had to be opened to bring the positions into um.
    spatial
        Space Ranger's folder of pictures.
    pictures
        Size (height, width) in pixels of the image that the positions refer to, by the file that states it.
    """

    xy_px: Places | None = None
    unit: str = "px"
    pitch_px: float | None = None
    pitch_um: float | None = None
    image: Path | None = None
    slide: Slide | None = None
    spatial: Path | None = None
    pictures: dict[str, tuple[float, float]] = field(default_factory=dict)


class RawReader(Protocol):
    """What a platform's module does for an inspection. Both functions may raise whatever a damaged file makes them."""

    def raw_places(self, entry: Any, raw: RawFiles) -> None:
        """Fill `raw` with the positions as written, and find the image; what was filled in before an error stays."""

    def raw_counts(self, entry: Any) -> RawCounts | None:
        """Return the table of counts as it is written, with its genes; None if there is none."""
