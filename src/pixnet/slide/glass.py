"""The colour of a slide's bare glass, and the slide as if its glass were white.

Scanners and lamps tint what they see, glass and tissue alike. By Beer and Lambert's law a tint is a factor on each of
red, green and blue, so dividing by the colour of the glass takes it away from both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixnet.grid import Box
from pixnet.slide.slide import Slide

_UM_PER_PX = 16.0
_COLOURLESS = 0.1  # saturation: the most that was seen of glass is 0.07, pale stroma has more
_DARKEST = 96  # of any colour: what is darker is a hole in the slide, or no bright field
_SPREAD = 30  # the glass is no darker than this below the brightest of what has no colour
_LEAST_SHARE = 0.01  # of the slide: one that is all tissue does not show its glass


@dataclass(frozen=True)
class Glass:
    """The colour of a slide's bare glass.

    Attributes
    ----------
    rgb
        Red, green and blue, 0 to 255; white where the slide does not show its glass.
    """

    rgb: tuple[float, float, float] = (255.0, 255.0, 255.0)

    @classmethod
    def of(cls, slide: Slide) -> Self:
        """Take the median colour of what is bright and all but colourless, on a picture at 16 um per pixel."""
        um_per_px = max(_UM_PER_PX, slide.mpp)
        height, width = (max(1, round(side / um_per_px)) for side in (slide.height_um, slide.width_um))
        rgb, valid = slide.read_box(Box(0, 0, height, width), um_per_px)
        pixels = rgb[valid]
        high, low = pixels.max(axis=1), pixels.min(axis=1)
        pale = (low >= (1.0 - _COLOURLESS) * high) & (low >= _DARKEST)
        # Scanners fill what they left out with pure white, which says nothing of the glass that they saw.
        for candidates in (pale & (low < 255), pale):
            bare = candidates & (low >= _brightest(low[candidates]) - _SPREAD)
            if bare.any() and bare.sum() >= _LEAST_SHARE * len(pixels):
                red, green, blue = np.median(pixels[bare], axis=0)
                return cls((float(red), float(green), float(blue)))
        return cls()

    def whiten(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Divide the pixels of an image, (h, w, 3), by the colour of the glass; what is brighter becomes white."""
        if self == WHITE_GLASS:
            return rgb
        return np.array(Image.fromarray(rgb).point(self._of_value))

    @cached_property
    def _of_value(self) -> list[int]:
        """What each of the 256 values of red becomes, then of green and of blue."""
        values = np.arange(256.0) * (255.0 / np.array(self.rgb))[:, None]
        return [int(value) for value in np.rint(np.minimum(values, 255.0)).ravel()]


def _brightest(values: NDArray[np.uint8]) -> float:
    """Give what all but the brightest twentieth are no brighter than, so that a few specks do not count."""
    return float(np.quantile(values, 0.95)) if len(values) else 0.0


WHITE_GLASS = Glass()
"""Of a slide that is seen as it is."""
