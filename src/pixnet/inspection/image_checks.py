"""Check whether the image is fine and sharp enough, and undamaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.inspection.findings import Finding
from pixnet.slide import Slide
from pixnet.slide.tissue import TissueMask

_COARSE_MPP = 1.5
_BLUR_MPP = 1.0
_WINDOW_UM = 256.0
_WINDOWS = 24
_SHARP = 0.02


def check_resolution(slide: Slide) -> list[Finding]:
    """Warn if the image is too coarse to show nuclei."""
    if slide.mpp <= _COARSE_MPP:
        return []
    text = f"The image has {slide.mpp:.3g} um per pixel; to show nuclei, it should have {_COARSE_MPP:g} or less."
    advice = "Give the full-resolution image as `image`, or the right pixel size as `mpp`."
    return [Finding("warning", "coarse", text, advice, {"mpp": slide.mpp})]


def check_blur(slide: Slide, tissue: TissueMask) -> list[Finding]:
    """Check how sharp the tissue is; return no finding if the image is too coarse to show that."""
    if slide.mpp > _BLUR_MPP * 1.1:
        return []
    values = sharpness(slide, tissue)
    if not len(values):
        return []
    median = float(np.median(values))
    value = {"sharpness": median, "windows": len(values), "limit": _SHARP}
    if median >= _SHARP:
        text = f"The tissue is sharp: its sharpness is {median:.3f}, and below {_SHARP:g} it would be blurred."
        return [Finding("info", "blur", text, value=value)]
    text = (
        f"The tissue is blurred: its sharpness (relative variance of the Laplacian) is {median:.3f}, below {_SHARP:g}. "
        "Nuclei cannot be distinguished."
    )
    return [Finding("warning", "blur", text, "Scan the slide again, in focus.", value)]


def check_damage(slide: Slide) -> list[Finding]:
    """Check whether any read of the slide has failed so far."""
    if not slide.no_data_reads:
        return []
    text = "Parts of the image cannot be read and are treated as having no data."
    value = {"reads": slide.no_data_reads}
    return [Finding("warning", "damaged-image", text, "Copy or export the image again.", value)]


def sharpness(slide: Slide, tissue: TissueMask) -> NDArray[np.float64]:
    """Return the variance of the Laplacian over the variance of the grey values, at 1 um per pixel.

    The quotient does not depend on how strongly a section is stained. There is one value for each of up to 24 windows
    of 256 um that are mostly tissue, shape (windows,).
    """
    side = min(_WINDOW_UM, slide.width_um, slide.height_um)
    step = max(1, round(side / tissue.um_per_px))
    share = ndimage.uniform_filter(tissue.mask.astype(np.float32), step, mode="constant")
    rows, cols = np.nonzero(share[step // 2 :: step, step // 2 :: step] > 0.5)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(_WINDOWS, len(rows))).astype(np.int64))
    values = []
    for row, col in zip(rows[chosen], cols[chosen], strict=True):
        x = min(col * step * tissue.um_per_px, slide.width_um - side)
        y = min(row * step * tissue.um_per_px, slide.height_um - side)
        rgb, _ = slide.read(max(x, 0.0), max(y, 0.0), side, side, max(_BLUR_MPP, slide.mpp))
        grey = rgb.mean(axis=2)
        if grey.var() > 1.0:
            values.append(float(ndimage.laplace(grey).var() / grey.var()))
    return np.array(values)
