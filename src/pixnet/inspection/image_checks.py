"""Whether the image is fine and sharp enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.inspection.findings import Finding
from pixnet.slide import Slide
from pixnet.slide.tissue import TissueMask

_COARSE_MPP = 1.5
_BLUR_MPP = 1.0
_WINDOW_UM, _WINDOWS = 256.0, 24
_SHARP = 0.02


def check_resolution(slide: Slide) -> list[Finding]:
    """Warn of an image too coarse to show nuclei."""
    if slide.mpp <= _COARSE_MPP:
        return []
    text = f"The image has {slide.mpp:.3g} um per pixel; models look at nuclei, at {_COARSE_MPP:g} or finer."
    advice = "Give the full-resolution image as `image` (--image), or the right pixel size as `mpp` (--mpp)."
    return [Finding("warning", "coarse", text, advice, {"mpp": slide.mpp})]


def check_blur(slide: Slide, tissue: TissueMask) -> list[Finding]:
    """Measure how sharp the tissue is; say nothing of an image that is too coarse to tell."""
    if slide.mpp > _BLUR_MPP * 1.1:
        return []
    values = sharpness(slide, tissue)
    if not len(values):
        return []
    median = float(np.median(values))
    value = {"sharpness": median, "windows": len(values), "limit": _SHARP}
    if median >= _SHARP:
        return [Finding("info", "blur", f"The tissue is sharp ({median:.3f}; blurred below {_SHARP:g}).", value=value)]
    text = f"The tissue is blurred: sharpness {median:.3f}, below {_SHARP:g} (variance of the Laplacian)."
    return [Finding("warning", "blur", text, "Scan the slide again, in focus; nuclei cannot be told apart.", value)]


def check_damage(slide: Slide) -> list[Finding]:
    """Tell of what could not be read in all reads of the slide until now."""
    if not slide.no_data_reads:
        return []
    text = "Parts of the image cannot be read and count as no data."
    value = {"reads": slide.no_data_reads}
    return [Finding("warning", "damaged-image", text, "Copy or export the image again.", value)]


def sharpness(slide: Slide, tissue: TissueMask) -> NDArray[np.float64]:
    """Give the variance of the Laplacian over the variance of the grey values, at 1 um per pixel.

    The quotient does not depend on how strongly a section is stained.

    Returns
    -------
    (windows,) float64, for up to 24 windows of 256 um that are mostly tissue.
    """
    side = min(_WINDOW_UM, slide.width_um, slide.height_um)
    window_px = max(1, round(side / tissue.um_per_px))
    share = ndimage.uniform_filter(tissue.mask.astype(np.float32), window_px, mode="constant")
    step = max(1, window_px)
    rows, cols = np.nonzero(share[step // 2 :: step, step // 2 :: step] > 0.5)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(_WINDOWS, len(rows))).astype(np.int64))
    values = []
    for row, col in zip(rows[chosen], cols[chosen], strict=True):
        y, x = (min(index * step * tissue.um_per_px, far - side) for index, far in
                ((row, slide.height_um), (col, slide.width_um)))  # fmt: skip
        rgb, _ = slide.read(max(x, 0.0), max(y, 0.0), side, side, max(_BLUR_MPP, slide.mpp))
        grey = rgb.mean(axis=2)
        if grey.var() > 1.0:
            values.append(float(ndimage.laplace(grey).var() / grey.var()))
    return np.array(values)
