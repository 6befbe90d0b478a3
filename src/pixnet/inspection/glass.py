"""The colour of a slide's bare glass, and the slide as if its glass were white.

Scanners and lamps tint what they see, glass and tissue alike. By Beer and Lambert's law a tint is a factor on each of
red, green and blue, so dividing by the colour of the glass takes it away from both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixnet.grid import Box
from pixnet.inspection.tissue_mask import tissue_pixels
from pixnet.slide import Slide

_UM_PER_PX = 16.0
_LEAST_SHARE = 0.01  # of the pixels: a picture that is all tissue does not show its glass
_DARKEST = 96  # of any colour; what is darker than that is a hole in the slide or no bright field


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
        """Take the median colour of what is no tissue, on a picture of the slide at 16 um per pixel."""
        um_per_px = max(_UM_PER_PX, slide.mpp)
        height, width = (max(1, round(side / um_per_px)) for side in (slide.height_um, slide.width_um))
        rgb, valid = slide.read_box(Box(0, 0, height, width), um_per_px)
        bare = rgb[~tissue_pixels(rgb)[0] & valid & (rgb.min(axis=2) >= _DARKEST)]
        if len(bare) < max(1.0, _LEAST_SHARE * valid.sum()):
            return cls()
        red, green, blue = np.median(bare, axis=0)
        return cls((float(red), float(green), float(blue)))

    def whiten(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Divide the pixels of an image, (h, w, 3), by the colour of the glass; what is brighter becomes white."""
        if self == WHITE_GLASS:
            return rgb
        values = np.arange(256.0)[:, None] * (255.0 / np.array(self.rgb))
        table = np.rint(np.minimum(values, 255.0)).astype(np.uint8)
        return np.array(Image.fromarray(rgb).point(table.T.ravel().tolist()))


WHITE_GLASS = Glass()
"""Of a slide that is seen as it is."""
