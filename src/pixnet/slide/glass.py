"""The colour of a slide's bare glass, and the correction of a slide to white glass.

Scanners and lamps tint glass and tissue in the same way. By the Beer-Lambert law, a tint is a factor on each of red,
green and blue. So dividing by the colour of the glass removes it from both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixnet.slide.slide import Slide, read_overview

_UM_PER_PX = 16.0
_COLOURLESS = 0.1  # saturation: at most 0.07 was seen for glass, pale stroma has more
_DARKEST = 96  # least value of each colour: anything darker is a hole in the slide, or not bright-field
_SPREAD = 30  # glass is at most this much darker than the brightest colourless pixels
_LEAST_SHARE = 0.01  # least share of the slide: a slide full of tissue does not show its glass


@dataclass(frozen=True)
class Glass:
    """The colour of a slide's bare glass: red, green and blue, 0 to 255; white if the slide does not show its glass."""

    rgb: tuple[float, float, float] = (255.0, 255.0, 255.0)

    @classmethod
    def from_slide(cls, slide: Slide) -> Self:
        """Measure a slide: return the median colour of its bright and nearly colourless pixels, at 16 um per pixel."""
        rgb, valid = read_overview(slide, max(_UM_PER_PX, slide.mpp))
        pixels = rgb[valid]
        high, low = pixels.max(axis=1), pixels.min(axis=1)
        pale = (low >= (1.0 - _COLOURLESS) * high) & (low >= _DARKEST)
        # Scanners fill the parts that they did not scan with pure white, which is not the colour of the glass. So pure
        # white counts only where there is nothing else.
        for candidates in (pale & (low < 255), pale):
            bare = candidates & (low >= _brightest(low[candidates]) - _SPREAD)
            if bare.any() and bare.sum() >= _LEAST_SHARE * len(pixels):
                red, green, blue = np.median(pixels[bare], axis=0)
                return cls((float(red), float(green), float(blue)))
        return cls()

    def whiten(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image (h, w, 3) divided by the colour of the glass; brighter pixels become white."""
        if self == WHITE_GLASS:
            return rgb
        return np.array(Image.fromarray(rgb).point(self._table))

    @cached_property
    def _table(self) -> list[int]:
        """New value of each of the 256 values of red, then of green and of blue."""
        values = np.arange(256.0) * (255.0 / np.array(self.rgb))[:, None]
        return [int(value) for value in np.rint(np.minimum(values, 255.0)).ravel()]


def _brightest(values: NDArray[np.uint8]) -> float:
    """Return the 95th percentile, which a few bright specks do not change."""
    return float(np.quantile(values, 0.95)) if len(values) else 0.0


WHITE_GLASS = Glass()
"""White glass, which leaves a slide as it is."""
