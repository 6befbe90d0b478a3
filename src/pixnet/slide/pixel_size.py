"""Where the size of a slide's pixels comes from: which metadata can be trusted and which cannot.

Nearly every file states some resolution; few of them mean it. A JPEG's or PNG's dpi is never read (scanner exports
claim 72 dpi). A TIFF's resolution counts only in centimetres and within the range that a microscope gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixnet.errors import SlideError

_TIFF_RANGE_UM = (0.05, 20.0)
_CENTIMETRE = 3  # of TIFF's ResolutionUnit
_ANISOTROPY = 0.01
_UM_PER_UNIT = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")

Found = tuple[float, float, str]
"""Pixel size along x and y in um, and the name of the metadata that gave it."""

AGREES = 0.05
"""Share by which two statements of one pixel size may differ, such as a given one and that of the region pitch."""

COARSEST = 1.5
"""A slide may be coarser than a model's working resolution by this factor at most."""


def from_openslide(properties: Mapping[str, str]) -> Found | None:
    """Read the pixel size that a scanner's own format states.

    OpenSlide also reports one for any TIFF with resolution tags, whatever their unit; that one is left to `from_tiff`.
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
    """Read PhysicalSizeX and PhysicalSizeY of an OME-XML's first image."""
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
    """Read a TIFF's resolution tags, if their unit is the centimetre and the size is a microscope's.

    Parameters
    ----------
    tags
        Values of XResolution and YResolution (as number or fraction) and ResolutionUnit.
    """
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


def resolve(name: str | Path, mpp: float | None, mpp_source: str | None, found: Found | None) -> tuple[float, str]:
    """Settle a slide's pixel size: what the caller says comes before what the file says.

    Parameters
    ----------
    name
        Path of the slide, for messages.
    mpp, mpp_source
        Pixel size in um that the caller gives, and where the caller has it from ("argument" if None).
    found
        What trusted metadata of the file say.

    Returns
    -------
    mpp, mpp_source
        Pixel size in um and its source.

    Raises
    ------
    SlideError
        If the given size is not a positive number, if the pixels are not square within 1 %, or if nothing is known.
    """
    if mpp is not None:
        if not (isinstance(mpp, int | float) and math.isfinite(mpp) and mpp > 0):
            raise SlideError(f"{name}: the pixel size must be a positive number of um per pixel, not {mpp!r}.")
        return float(mpp), mpp_source or "argument"
    if found is None:
        raise SlideError(
            f"{name}: the file states no pixel size that can be trusted. Give it, in um per pixel, as `mpp` (--mpp)."
        )
    x, y, source = found
    if abs(x - y) > _ANISOTROPY * max(x, y):
        raise SlideError(
            f"{name}: its pixels are {x:g} x {y:g} um by {source}, and only square pixels can be used. "
            "Resample the image, or if the metadata are wrong, give the right `mpp` (--mpp)."
        )
    return (x if x == y else (x + y) / 2), source


def positive(value: Any) -> float | None:
    """Give `value` as a positive finite number, or None if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
