"""The pixel size of a slide, from the metadata of its file that can be trusted.

Nearly every file states a resolution, but few of these are true. The dpi of a JPEG or PNG is never used, because
exports of scanners say 72 dpi. The resolution of a TIFF is used only if it is in centimetres and within the range of a
microscope.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixnet.errors import SlideError

_TIFF_RANGE_UM = (0.05, 20.0)
_CENTIMETRE = 3  # of TIFF's ResolutionUnit
_ANISOTROPY = 0.01  # largest relative difference of x and y
_UM_PER_UNIT = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")

Found = tuple[float, float, str]
"""Pixel size along x and y in um, and the name of the metadata that states it."""

AGREES = 0.05
"""Largest relative difference of two pixel sizes of one image, such as a given size and that of the region pitch."""

COARSEST = 1.5
"""Largest factor by which a slide may be coarser than a model's working resolution."""


def from_openslide(properties: Mapping[str, str]) -> Found | None:
    """Return the pixel size that a scanner's own format states; None if it states none.

    OpenSlide also reports a pixel size for any TIFF with resolution tags, whatever their unit. That one is not
    used here but checked by `from_tiff`.
    """
    vendor = properties.get("openslide.vendor", "")
    if vendor == "generic-tiff":
        return None
    x = positive(properties.get("openslide.mpp-x"))
    y = positive(properties.get("openslide.mpp-y"))
    if x is None or y is None:
        return None
    names = {"aperio": "aperio.MPP", "dicom": "DICOM PixelSpacing"}
    return x, y, names.get(vendor, f"openslide.mpp-x ({vendor})")


def from_ome(xml: str | None) -> Found | None:
    """Return PhysicalSizeX and PhysicalSizeY of the first image of an OME-XML; None if it does not state them."""
    pixels = _PIXELS.search(xml or "")
    if pixels is None:
        return None
    sizes = []
    for axis in "XY":
        value = re.search(rf'\bPhysicalSize{axis}\s*=\s*["\']([^"\']+)["\']', pixels[0])
        unit = re.search(rf'\bPhysicalSize{axis}Unit\s*=\s*["\']([^"\']+)["\']', pixels[0])
        um = _UM_PER_UNIT.get(unit[1].replace("&#181;", "µ").replace("&#xB5;", "µ") if unit else "µm")
        number = positive(value[1]) if value else None
        if um is None or number is None:
            return None
        sizes.append(number * um)
    return sizes[0], sizes[1], "OME PhysicalSizeX"


def from_tiff(tags: Mapping[str, Any]) -> Found | None:
    """Return the pixel size of a TIFF's resolution tags; None if their unit or size is not that of a microscope."""
    if int(tags.get("ResolutionUnit", 0)) != _CENTIMETRE:
        return None
    sizes = []
    for name in ("XResolution", "YResolution"):
        value = tags.get(name)
        if isinstance(value, tuple):
            value = value[0] / value[1] if value[1] else None
        per_cm = positive(value)
        if per_cm is None:
            return None
        sizes.append(1e4 / per_cm)
    if not all(_TIFF_RANGE_UM[0] <= size <= _TIFF_RANGE_UM[1] for size in sizes):
        return None
    return sizes[0], sizes[1], "TIFF resolution"


@dataclass(frozen=True)
class PixelSize:
    """A pixel size in um per pixel, and where it is from: "argument", "manifest", "spot pitch", "aperio.MPP", ..."""

    mpp: float
    source: str = "argument"

    @classmethod
    def given(cls, mpp: float | PixelSize | None) -> PixelSize | None:
        """Return a pixel size that a caller gives as a number, or with its source as a manifest does."""
        return mpp if mpp is None or isinstance(mpp, PixelSize) else cls(mpp)


def resolve(name: str | Path, given: PixelSize | None, found: Found | None) -> PixelSize:
    """Return a slide's pixel size: the given one, or else the one that the file states.

    SlideError is raised if the given size is not a positive number, if the pixels are not square within 1 %, or if
    nothing is known; it names the slide.
    """
    if given is not None:
        mpp = given.mpp
        if not (isinstance(mpp, int | float) and math.isfinite(mpp) and mpp > 0):
            raise SlideError(f"{name}: the pixel size must be a positive number of um per pixel, not {mpp!r}.")
        return PixelSize(float(mpp), given.source)
    if found is None:
        raise SlideError(
            f"{name}: the file states no pixel size that can be trusted. Give it, in um per pixel, as `mpp`."
        )
    x, y, source = found
    if abs(x - y) > _ANISOTROPY * max(x, y):
        raise SlideError(
            f"{name}: its pixels are {x:g} x {y:g} um by {source}, and only square pixels can be used. "
            "Resample the image, or if the metadata are wrong, give the right `mpp`."
        )
    return PixelSize(x if x == y else (x + y) / 2, source)


def positive(value: Any) -> float | None:
    """Return a value as a float; None if it is not a positive finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
