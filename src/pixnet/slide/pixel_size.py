"""The pixel size of a slide, from the metadata of its file that can be trusted.

Nearly every file states a resolution, but few of these are true. The dpi of a JPEG or PNG is never used, because
exports of scanners say 72 dpi. The resolution of a TIFF is used only if it is in centimetres and within the range of a
microscope. A size that is used may still contradict what is known of scanners and glass slides; `doubts` says so.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixnet.errors import SlideError

_TIFF_RANGE_UM = (0.05, 20.0)
_CENTIMETRE = 3  # of TIFF's ResolutionUnit
_ANISOTROPY = 0.01  # largest relative difference of x and y
_UM_PER_UNIT = {
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "um": 1.0,
    "\u03bcm": 1.0,  # with the Greek letter, which the micro sign is normalised to
    "micron": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
}
_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_UM_AT_1X = 10.0  # um of a pixel, times the magnification of the objective
_OBJECTIVE_FACTOR = 4.0  # by which that may differ
_OME = "OME PhysicalSizeX"
_FINEST_UM = 0.1  # a pixel of the finest scans in use, with an objective of 63x
_LONGEST_MM = 80.0  # of a glass slide of the usual size, 76 x 26 mm, and of the double width

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


def from_ome(xml: str | None, shape: tuple[int, int] | None = None) -> Found | None:
    """Return the pixel size that an OME-XML states for the image of `shape` (height, width), or the only image.

    None if it does not state it in a known unit, along both axes.
    """
    pixels = _ome_pixels(xml, shape)
    sizes = []
    for axis in "XY":
        unit = _attribute(pixels, f"PhysicalSize{axis}Unit")
        um = 1.0 if unit is None else um_per_unit(unit)
        number = positive(_attribute(pixels, f"PhysicalSize{axis}"))
        if um is None or number is None:
            return None
        sizes.append(number * um)
    return sizes[0], sizes[1], _OME


def unknown_unit(xml: str | None, shape: tuple[int, int] | None = None) -> str | None:
    """Return the unit of the pixel size in an OME-XML, if it is not a known one."""
    units = [_attribute(_ome_pixels(xml, shape), f"PhysicalSize{axis}Unit") for axis in "XY"]
    return next((unit for unit in units if unit is not None and um_per_unit(unit) is None), None)


def um_per_unit(unit: str) -> float | None:
    """Return the um of a unit of length, however it is spelled or encoded; None if it is not known."""
    text = html.unescape(html.unescape(unit)).strip()
    for encoding in ("cp1252", "latin-1"):
        try:
            text = text.encode(encoding).decode("utf-8")  # UTF-8 that was once read as an older encoding
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
        break
    text = unicodedata.normalize("NFKC", text).casefold()
    um = _UM_PER_UNIT.get(text)
    return _UM_PER_UNIT.get(text.removesuffix("s")) if um is None else um


def _ome_pixels(xml: str | None, shape: tuple[int, int] | None) -> str:
    """Return the tag of an image's pixels in an OME-XML; that of the size if there are several; "" if there is none."""
    tags: list[str] = _PIXELS.findall(xml or "")
    if len(tags) > 1 and shape is not None:
        sizes = [(_attribute(tag, "SizeY"), _attribute(tag, "SizeX")) for tag in tags]
        wanted = (str(shape[0]), str(shape[1]))
        return next((tag for tag, size in zip(tags, sizes, strict=True) if size == wanted), "")
    return tags[0] if tags else ""


def _attribute(tag: str, name: str) -> str | None:
    value = re.search(rf'\b{name}\s*=\s*["\']([^"\']+)["\']', tag)
    return value[1] if value else None


def from_imagej(description: str, tags: Mapping[str, Any]) -> Found | None:
    """Return the pixel size that ImageJ and Fiji write: pixels per unit as tags, and the unit in the description."""
    unit = re.search(r"^unit=(.+)$", description, re.MULTILINE) if description.startswith("ImageJ=") else None
    # ImageJ escapes what is not ASCII.
    um = None if unit is None else um_per_unit(re.sub(r"\\u00[bB]5", "\u00b5", unit[1]))
    sizes = [_per_unit(tags.get(name)) for name in ("XResolution", "YResolution")]
    if um is None or None in sizes:
        return None
    x, y = (um / size for size in sizes if size is not None)
    return x, y, "ImageJ unit"


def from_tiff_file(
    xml: str | None, shape: tuple[int, int], description: str, tags: Mapping[str, Any]
) -> tuple[Found | None, str]:
    """Return the pixel size of a TIFF's image of `shape` (height, width), and what speaks against it or there is none.

    OME-XML (`xml`) comes before ImageJ's description, and both before the resolution tags.
    """
    stated = [from_ome(xml, shape), from_imagej(description, tags), from_tiff(tags)]
    known = [found for found in stated if found is not None]
    if not known:
        unit = unknown_unit(xml, shape)
        return None, f"its OME-XML has one in the unit {unit[:20]!r}, which is not known" if unit else ""
    first = known[0]
    for other in known[1:]:
        if abs(other[0] - first[0]) > AGREES * first[0]:
            return first, f"its pixel size is {first[0]:.4g} um by {first[2]}, but {other[0]:.4g} um by {other[2]}"
    return first, ""


def objective_doubt(found: Found | None, power: str | None) -> str:
    """Return how a scanner's pixel size contradicts its objective; empty if it does not, or one is not known.

    An objective of 20x makes pixels of about 0.5 um, one of 40x of 0.25 um; cameras and lenses change that by a factor
    of two or so.
    """
    magnification = positive(power)
    if found is None or magnification is None:
        return ""
    usual = _UM_AT_1X / magnification
    if usual / _OBJECTIVE_FACTOR <= found[0] <= usual * _OBJECTIVE_FACTOR:
        return ""
    return (
        f"its pixel size is {found[0]:.4g} um by {found[2]}, but its objective of {magnification:g}x makes pixels of "
        f"about {usual:.2g} um"
    )


def from_tiff(tags: Mapping[str, Any]) -> Found | None:
    """Return the pixel size of a TIFF's resolution tags; None if their unit or size is not that of a microscope."""
    if int(tags.get("ResolutionUnit", 0)) != _CENTIMETRE:
        return None
    sizes = []
    for name in ("XResolution", "YResolution"):
        per_cm = _per_unit(tags.get(name))
        if per_cm is None:
            return None
        sizes.append(1e4 / per_cm)
    if not all(_TIFF_RANGE_UM[0] <= size <= _TIFF_RANGE_UM[1] for size in sizes):
        return None
    return sizes[0], sizes[1], "TIFF resolution"


def _per_unit(value: Any) -> float | None:
    """Return a resolution tag, a fraction of two whole numbers, as a number; None if it is not positive."""
    if isinstance(value, tuple):
        value = value[0] / value[1] if value[1] else None
    return positive(value)


@dataclass(frozen=True)
class PixelSize:
    """A pixel size in um per pixel, and where it is from: "argument", "manifest", "spot pitch", "aperio.MPP", ..."""

    mpp: float
    source: str = "argument"

    @classmethod
    def given(cls, mpp: float | PixelSize | None) -> PixelSize | None:
        """Return a pixel size that a caller gives as a number, or with its source as a manifest does."""
        return mpp if mpp is None or isinstance(mpp, PixelSize) else cls(mpp)


def resolve(name: str | Path, given: PixelSize | None, found: Found | None, doubt: str = "") -> PixelSize:
    """Return a slide's pixel size: the given one, or else the one that the file states.

    `doubt` says why the file states none that can be trusted. SlideError is raised if the given size is not a positive
    number, if the pixels are not square within 1 %, or if nothing is known; it names the slide.
    """
    if given is not None:
        mpp = given.mpp
        if not (isinstance(mpp, int | float) and math.isfinite(mpp) and mpp > 0):
            raise SlideError(f"{name}: the pixel size must be a positive number of um per pixel, not {mpp!r}.")
        return PixelSize(float(mpp), given.source)
    if found is None:
        reason = f" ({doubt})" if doubt else ""
        raise SlideError(
            f"{name}: the file states no pixel size that can be trusted{reason}. Give it, in um per pixel, as `mpp`."
        )
    x, y, source = found
    if abs(x - y) > _ANISOTROPY * max(x, y):
        raise SlideError(
            f"{name}: its pixels are {x:g} x {y:g} um by {source}, and only square pixels can be used. "
            "Resample the image, or if the metadata are wrong, give the right `mpp`."
        )
    return PixelSize(x if x == y else (x + y) / 2, source)


def doubts(size: PixelSize, shape: tuple[int, int]) -> list[str]:
    """Return what speaks against the pixel size of an image of `shape` (height, width): two facts that disagree."""
    found = []
    if size.mpp == 1.0 and size.source == _OME:
        found.append(
            "its pixel size is exactly 1 um by OME PhysicalSizeX, which programs write that do not know it: compare it "
            "with the scan, and give the right `mpp`"
        )
    if size.mpp < _FINEST_UM:
        found.append(
            f"its pixels are {size.mpp:.3g} um wide ({size.source}), but the finest scans have {_FINEST_UM:g} um: it "
            "may be ten times too small, so check it, and give the right `mpp`"
        )
    width, height = (side * size.mpp / 1e3 for side in shape[::-1])
    if max(width, height) > _LONGEST_MM:
        found.append(
            f"it would be {width:.0f} x {height:.0f} mm large at {size.mpp:.3g} um per pixel ({size.source}), but a "
            "glass slide is 76 x 26 mm: the pixel size may be too large, so check it, and give the right `mpp`"
        )
    return found


def positive(value: Any) -> float | None:
    """Return a value as a float; None if it is not a positive finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
