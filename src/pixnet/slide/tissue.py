"""Find the tissue of a slide: the pixels that have colour, on a coarse picture of the slide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.slide.slide import Slide

Floats = NDArray[np.floating[Any]]

_SIDE_PX = 1000
_LEAST, _MOST = 0.05, 0.2  # range of the saturation threshold, whatever the histogram says
_ENOUGH = 0.1  # least share of tissue around a region on tissue
_WINDOW_PX = 3  # least side of the window around a region


class TissueMask:
    """A coarse picture of a slide, shape (h, w, 3), and a mask of its pixels that are tissue, shape (h, w)."""

    def __init__(self, slide: Slide) -> None:
        self.rgb, self.um_per_px = slide.thumbnail(_SIDE_PX)
        self.mask, self.threshold = tissue_pixels(self.rgb)  # the threshold is a saturation
        self._share: tuple[int, Floats] | None = None

    def holds(self, xy_um: NDArray[np.float64], width_um: float) -> NDArray[np.bool_]:
        """Return whether regions are on tissue, shape (n,), from their centres (n, 2) and their width in um.

        A region is on tissue if at least a tenth of the square around it is. A region outside the slide is not on
        tissue.
        """
        side = max(_WINDOW_PX, round(width_um / self.um_per_px))
        if self._share is None or self._share[0] != side:
            self._share = side, ndimage.uniform_filter(self.mask.astype(np.float32), side, mode="nearest")
        share = self._share[1]
        cols, rows = np.floor(xy_um / self.um_per_px).astype(np.int64).T
        inside = (rows >= 0) & (cols >= 0) & (rows < share.shape[0]) & (cols < share.shape[1])
        on_tissue = np.zeros(len(xy_um), bool)
        on_tissue[inside] = share[rows[inside], cols[inside]] >= _ENOUGH
        return on_tissue


def tissue_pixels(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], float]:
    """Return the mask of tissue, (h, w), of a picture at about 5 to 50 um per pixel, and its saturation threshold."""
    high = rgb.max(axis=2).astype(np.float32)
    # The colour of the darkest pixels is not reliable: these are pen marks and the edge of the picture.
    saturation: Floats = np.asarray((high - rgb.min(axis=2)) / np.maximum(high, 40.0))
    threshold = float(np.clip(otsu(saturation), _LEAST, _MOST))
    mask: NDArray[np.bool_] = ndimage.median_filter(saturation, 3) > threshold
    return mask, threshold


def otsu(values: Floats) -> float:
    """Return the threshold that best splits values between 0 and 1 into two groups (Otsu's method)."""
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middles[int(np.argmax(np.nan_to_num(between)))])
