"""Where on a slide there is tissue: what has colour, on a picture of the whole slide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.slide.slide import Slide

Floats = NDArray[np.floating[Any]]

_SIDE_PX = 1000
_LEAST, _MOST = 0.05, 0.2  # between which the threshold of saturation lies, whatever the histogram says
_ENOUGH = 0.1  # of a window that is tissue
_WINDOW_PX = 3


class TissueMask:
    """A coarse picture of the slide, and which of its pixels are tissue.

    Attributes
    ----------
    rgb
        (h, w, 3) uint8.
    um_per_px
        Resolution of the picture.
    threshold
        Saturation from which a pixel counts as tissue.
    mask
        (h, w) bool.
    """

    def __init__(self, slide: Slide) -> None:
        self.rgb, self.um_per_px = slide.thumbnail(_SIDE_PX)
        self.px_per_px = self.um_per_px / slide.mpp
        self.mask, self.threshold = tissue_pixels(self.rgb)
        self._share: tuple[int, Floats] | None = None

    def holds(self, xy_um: NDArray[np.float64], width_um: float) -> NDArray[np.bool_]:
        """Say which places lie on tissue.

        Parameters
        ----------
        xy_um
            (n, 2) in um. What lies outside the slide is not on tissue.
        width_um
            Width of a region: it lies on tissue if a tenth of the square around it is.
        """
        side = max(_WINDOW_PX, round(width_um / self.um_per_px))
        if self._share is None or self._share[0] != side:
            self._share = side, ndimage.uniform_filter(self.mask.astype(np.float32), side, mode="nearest")
        share = self._share[1]
        cols, rows = np.floor(xy_um / self.um_per_px).astype(np.int64).T
        inside = (rows >= 0) & (cols >= 0) & (rows < share.shape[0]) & (cols < share.shape[1])
        held = np.zeros(len(xy_um), bool)
        held[inside] = share[rows[inside], cols[inside]] >= _ENOUGH
        return held


def tissue_pixels(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], float]:
    """Say which pixels of a picture are tissue.

    Parameters
    ----------
    rgb
        (h, w, 3), some 5 to 50 um per pixel.

    Returns
    -------
    mask, threshold
        (h, w), and the saturation from which on a pixel counts as tissue.
    """
    saturation = _saturation(rgb)
    threshold = float(np.clip(_otsu(saturation), _LEAST, _MOST))
    mask: NDArray[np.bool_] = ndimage.median_filter(saturation, 3) > threshold
    return mask, threshold


def _saturation(rgb: NDArray[np.uint8]) -> Floats:
    high = rgb.max(axis=2).astype(np.float32)
    # The darkest pixels have no colour that could be told: pen marks and the edge of the picture.
    return np.asarray((high - rgb.min(axis=2)) / np.maximum(high, 40.0))


def _otsu(values: Floats) -> float:
    """Give the threshold that best splits values between 0 and 1 into two groups."""
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middles[int(np.argmax(np.nan_to_num(between)))])
