"""How a slide is stained, as a few numbers, and how far that is from how other slides are.

Colour is separated into haematoxylin, eosin and what neither explains, by the fixed deconvolution of Ruifrok and
Johnston (2001, Anal Quant Cytol Histol 23:291). White is the slide's own glass, as it is for a network that is
trained with `white_balance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixnet.grid import Box
from pixnet.slide.glass import Glass
from pixnet.slide.slide import Slide
from pixnet.slide.tissue import TissueMask

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
"""Absorption of haematoxylin in red, green and blue (Ruifrok and Johnston 2001)."""

EOSIN = np.array([0.07, 0.99, 0.11])
"""Absorption of eosin."""

STAINS = ("haematoxylin", "eosin", "residual")
"""What a slide's colour is separated into."""

_UM_PER_PX = 8.0
_LEAST_PIXELS, _MOST_PIXELS = 100, 1_000_000
# Optical density. Sections that were stained alike differ by about this much, for what tissue there is in them.
_LEAST_SPREAD = 0.03


@dataclass(frozen=True)
class StainProfile:
    """Optical density (decadic) of a slide's tissue, at 8 um per pixel.

    Attributes
    ----------
    mean, sd
        Of each of `STAINS`, over the pixels of tissue.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @classmethod
    def of(cls, slide: Slide, tissue: TissueMask | None = None) -> Self | None:
        """Measure a slide; None if there is next to no tissue.

        Parameters
        ----------
        slide
            The slide.
        tissue
            Where it has tissue, if that is known.
        """
        tissue = tissue or TissueMask(slide)
        um_per_px = max(_UM_PER_PX, slide.mpp)
        height, width = (max(1, round(side / um_per_px)) for side in (slide.height_um, slide.width_um))
        rgb, valid = slide.read_box(Box(0, 0, height, width), um_per_px)
        rows, cols = (
            np.minimum(((np.arange(number) + 0.5) * um_per_px / tissue.um_per_px).astype(np.int64), most - 1)
            for number, most in zip((height, width), tissue.mask.shape, strict=True)
        )
        pixels = rgb[tissue.mask[np.ix_(rows, cols)] & valid]
        if len(pixels) < _LEAST_PIXELS:
            return None
        some = pixels[None, :: len(pixels) // _MOST_PIXELS + 1]  # an image of one row
        density = _OF_VALUE[Glass.of(slide).whiten(some)[0]] @ _SEPARATE
        return cls(_rounded(density.mean(axis=0)), _rounded(density.std(axis=0)))

    @classmethod
    def from_json(cls, stored: object) -> Self | None:
        """Take a profile from what `to_json` gave; None if it is none."""
        try:
            mean, sd = (tuple(float(value) for value in stored[key]) for key in ("mean", "sd"))  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            return None
        return cls(mean, sd) if len(mean) == len(sd) == len(STAINS) else None

    def to_json(self) -> dict[str, Any]:
        """Give it as what JSON can hold, with what its numbers are."""
        told = {key: list(value) for key, value in asdict(self).items()}
        return {"stains": list(STAINS), "um_per_px": _UM_PER_PX, **told}


@dataclass(frozen=True)
class Distance:
    """How far a slide's stain is from that of other slides.

    Attributes
    ----------
    sd
        Difference from their median, in standard deviations between them; the largest of the three stains.
    stain
        Which of them that is.
    nearest, nearest_sd
        The slide that is nearest, and how far that one is.
    middle
        (3,) the median of the slides.
    """

    sd: float
    stain: str
    nearest: str
    nearest_sd: float
    middle: NDArray[np.float64]


def stain_distance(profile: StainProfile, others: Mapping[str, StainProfile]) -> Distance:
    """Compare a slide with others, robustly: by their median and median absolute deviation.

    Parameters
    ----------
    profile
        Of the slide.
    others
        Of one or more slides, by name. Where they are few or much alike, the spread is taken to be 0.03.
    """
    means = np.array([other.mean for other in others.values()])
    own, middle = np.array(profile.mean), np.median(means, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(means - middle), axis=0), _LEAST_SPREAD)
    off = np.abs(own - middle) / spread
    to_each = (np.abs(own - means) / spread).max(axis=1)
    nearest = int(np.argmin(to_each))
    return Distance(float(off.max()), STAINS[int(off.argmax())], list(others)[nearest], float(to_each[nearest]), middle)


def _separation() -> NDArray[np.float64]:
    """Give the matrix from the density of red, green and blue to that of the stains; the third lies across both."""
    known = [stain / np.linalg.norm(stain) for stain in (HAEMATOXYLIN, EOSIN)]
    across = np.cross(*known)
    return np.linalg.inv(np.stack([*known, across / np.linalg.norm(across)]))


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


_OF_VALUE = -np.log10(np.maximum(np.arange(256), 1) / 255.0)  # density of each value that a pixel can have
_SEPARATE = _separation()
