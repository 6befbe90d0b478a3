"""The stain of a slide, as a few numbers, and its distance from the stains of other slides.

Colour is separated into haematoxylin, eosin and a residual by the fixed deconvolution of Ruifrok and Johnston (2001,
Anal Quant Cytol Histol 23:291). White is the slide's own glass, as for a network that is trained with `white_balance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixnet.slide.glass import Glass
from pixnet.slide.slide import Slide, read_overview
from pixnet.slide.tissue import TissueMask

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
"""Absorption of haematoxylin in red, green and blue (Ruifrok and Johnston 2001)."""

EOSIN = np.array([0.07, 0.99, 0.11])
"""Absorption of eosin."""

STAINS = ("haematoxylin", "eosin", "residual")
"""Names of the components of colour."""

_UM_PER_PX = 8.0
_LEAST_PIXELS = 100
_MOST_PIXELS = 1_000_000
# Optical density. Sections with the same stain differ by about this much, because their tissue differs.
_LEAST_SPREAD = 0.03


@dataclass(frozen=True)
class StainProfile:
    """Decadic optical density of a slide's tissue, at 8 um per pixel: mean and SD over pixels of each of `STAINS`."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @classmethod
    def from_slide(cls, slide: Slide, tissue: TissueMask | None = None) -> Self | None:
        """Measure a slide; return None if it has nearly no tissue."""
        tissue = tissue or TissueMask(slide)
        um_per_px = max(_UM_PER_PX, slide.mpp)
        rgb, valid = read_overview(slide, um_per_px)
        rows, cols = (
            np.minimum(((np.arange(number) + 0.5) * um_per_px / tissue.um_per_px).astype(np.int64), limit - 1)
            for number, limit in zip(valid.shape, tissue.mask.shape, strict=True)
        )
        pixels = rgb[tissue.mask[np.ix_(rows, cols)] & valid]
        if len(pixels) < _LEAST_PIXELS:
            return None
        some = pixels[None, :: len(pixels) // _MOST_PIXELS + 1]  # as an image of one row
        density = stain_densities(Glass.from_slide(slide).whiten(some)[0])
        return cls(_rounded(density.mean(axis=0)), _rounded(density.std(axis=0)))

    @classmethod
    def from_json(cls, stored: object) -> Self | None:
        """Return the profile that `to_json` stored; None if it is not a profile."""
        try:
            mean, sd = (tuple(float(value) for value in stored[key]) for key in ("mean", "sd"))  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            return None
        return cls(mean, sd) if len(mean) == len(sd) == len(STAINS) else None

    def to_json(self) -> dict[str, Any]:
        """Return the profile as JSON values, with the names of the stains and the resolution."""
        return {"stains": list(STAINS), "um_per_px": _UM_PER_PX, "mean": list(self.mean), "sd": list(self.sd)}


@dataclass(frozen=True)
class Distance:
    """Distance of a slide's stain from the stains of other slides, in standard deviations between them."""

    sd: float  # largest difference of a stain from the median of the other slides
    stain: str  # name of the stain with that difference
    nearest: str  # name of the most similar slide
    nearest_sd: float  # distance to it
    middle: NDArray[np.float64]  # median of the other slides, shape (3,)


def stain_densities(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the decadic optical density of each of `STAINS` in an image (..., 3) with white glass."""
    return np.asarray(_DENSITY_OF_VALUE[rgb] @ _DENSITY_TO_STAINS)


def stain_distance(profile: StainProfile, others: Mapping[str, StainProfile]) -> Distance:
    """Compare a slide with one or more others by their median and median absolute deviation, which are robust.

    The spread is at least 0.03, also where the slides are few or similar.
    """
    means = np.array([other.mean for other in others.values()])
    mean, middle = np.array(profile.mean), np.median(means, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(means - middle), axis=0), _LEAST_SPREAD)
    to_middle = np.abs(mean - middle) / spread
    to_others = (np.abs(mean - means) / spread).max(axis=1)
    nearest = int(np.argmin(to_others))
    return Distance(
        sd=float(to_middle.max()),
        stain=STAINS[int(to_middle.argmax())],
        nearest=list(others)[nearest],
        nearest_sd=float(to_others[nearest]),
        middle=middle,
    )


def _separation() -> NDArray[np.float64]:
    """Return the matrix from densities of red, green and blue to those of the stains and the residual."""
    stains = [stain / np.linalg.norm(stain) for stain in (HAEMATOXYLIN, EOSIN)]
    residual = np.cross(*stains)  # normal to both stains
    return np.linalg.inv(np.stack([*stains, residual / np.linalg.norm(residual)]))


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


_DENSITY_OF_VALUE = -np.log10(np.maximum(np.arange(256), 1) / 255.0)  # for each value of a pixel
_DENSITY_TO_STAINS = _separation()
