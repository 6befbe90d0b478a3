"""Check whether positions, pixel size and image fit together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pixnet.inspection.findings import Finding, Level
from pixnet.sample import Sample
from pixnet.sample.geometry import contradictions
from pixnet.slide import Slide
from pixnet.slide.pixel_size import AGREES
from pixnet.slide.tissue import TissueMask

Places = NDArray[np.float64]

# Shares of the regions that are on tissue.
_FEW_ON_TISSUE = 0.4
_MOST_ON_TISSUE = 0.7
_SURELY_ON_TISSUE = 0.85
_CLEARLY_MORE = 0.2  # that another orientation must gain
# Sizes of an image in relation to that of the full-resolution image.
_SMALLER = 0.97
_MUCH_LARGER = 1.3  # times the image that positions must reach before it counts as a smaller copy

# How positions may be written instead: whether x and y are swapped, then whether x and whether y is flipped.
_ORIENTATIONS = {
    "x counted from the right": (False, True, False),
    "y counted from the bottom": (False, False, True),
    "turned by 180 degrees": (False, True, True),
    "x and y swapped": (True, False, False),
    "x and y swapped, then x counted from the right": (True, True, False),
    "x and y swapped, then y counted from the bottom": (True, False, True),
    "x and y swapped, then turned by 180 degrees": (True, True, True),
}
_SWAPPED = "x and y swapped"


@dataclass(frozen=True)
class Layout:
    """n regions over a slide."""

    slide: Slide  # its pixel size is made up if none is known
    xy_um: Places  # centres, shape (n, 2); they may be outside the slide
    width_um: float  # of a region
    options: Collection[str] = ()  # keys that the platform's entry in a manifest can have
    step: int = 1  # k, if only every k-th of many regions is here


def check_pixel_size(mpp: float, source: str, pitch_px: float | None, pitch_um: float | None) -> list[Finding]:
    """Compare the pixel size with the distance between neighbouring regions.

    `source` says where the pixel size comes from. The distance is `pitch_px` in pixels of the image, and `pitch_um` as
    the platform defines it; either is None if not known.
    """
    value = {"mpp": mpp, "source": source, "pitch_px": pitch_px, "pitch_um": pitch_um}
    if pitch_px is None or pitch_um is None:
        return [Finding("info", "pixel-size", f"The pixel size is {mpp:.4g} um ({source}).", value=value)]
    measured = pitch_um / pitch_px
    value["mpp_of_pitch"] = measured
    if abs(mpp - measured) > AGREES * measured:
        text = (
            f"The pixel size of {mpp:.4g} um ({source}) contradicts the regions: they are {pitch_px:.1f} pixels and "
            f"{pitch_um:g} um apart, which makes {measured:.4g} um per pixel."
        )
        advice = (
            f"Give the pixel size of the full-resolution image (`mpp={measured:.3g}`) or leave `mpp` out, or give the "
            "image that the positions refer to as `image`."
        )
        return [Finding("error", "pixel-size", text, advice, value)]
    text = (
        f"The pixel size is {mpp:.4g} um ({source}); the distance between neighbouring regions agrees with it: it "
        f"should be {pitch_um:g} um and measures {pitch_px * mpp:.1f} um."
    )
    return [Finding("info", "pixel-size", text, value=value)]


def check_full_resolution(
    slide: Slide, pictures: Mapping[str, tuple[float, float]], xy_px: Places | None
) -> list[Finding]:
    """Check whether the image is only a smaller copy of the one that the positions refer to.

    `pictures` has the height and width of the full-resolution image in pixels, by the file that they are known from;
    `xy_px` are positions in its pixels, shape (n, 2), None if not known.
    """
    advice = "Give the full-resolution image that the platform's software was run on as `image`."
    height, width = slide.shape
    name = slide.path or slide.name
    for picture, (full_height, full_width) in pictures.items():
        ratios = height / full_height, width / full_width
        if max(ratios) < _SMALLER:
            same_shape = max(ratios) - min(ratios) <= (1 - _SMALLER) * max(ratios)
            kind = "a smaller copy" if same_shape else "another image"
            text = (
                f"{name} has {width} x {height} pixels, but according to {picture} the positions refer to an image of "
                f"{full_width:.0f} x {full_height:.0f} pixels: it is {kind}."
            )
            return [Finding("error", "not-full-resolution", text, advice, {"ratio": max(ratios)})]
    if xy_px is not None and len(xy_px):
        reach = np.quantile(xy_px, 0.98, axis=0)
        # Swapped positions reach beyond one side at most, and not beyond the longer one.
        if (reach > _MUCH_LARGER * np.array([width, height])).any() and reach.max() > _MUCH_LARGER * max(width, height):
            text = (
                f"{name} has {width} x {height} pixels, but the positions reach up to x = {reach[0]:.0f} and "
                f"y = {reach[1]:.0f}: it is a smaller copy, or another image."
            )
            return [Finding("error", "not-full-resolution", text, advice, {"reach_px": reach})]
    return []


def check_regions(sample: Sample) -> list[Finding]:
    """Check whether the size of the regions and their positions contradict each other."""
    return [
        Finding(found.level, "contradiction", found.text, found.advice, found.value)
        for found in contradictions(sample.slide, sample.regions)
    ]


def check_places(layout: Layout, tissue: TissueMask, written: Places | None = None) -> list[Finding]:
    """Check whether regions are inside the image and on tissue, and which orientation would put them there.

    `written` are centres in um, shape (n, 2), that include the regions that the reader left out for being outside the
    image; None if it left out none.
    """
    slide, xy = layout.slide, layout.xy_um
    outside = int((~_inside(layout, xy)).sum())
    share = float(tissue.holds(xy, layout.width_um).mean())
    findings = []
    all_regions = layout if written is None else replace(layout, xy_um=written)
    share_of_all = share if written is None else float(tissue.holds(written, layout.width_um).mean())
    sure = share_of_all >= _SURELY_ON_TISSUE
    better = None if sure and not outside else _better_orientation(all_regions, tissue, share_of_all, outside)
    if better is not None:
        findings.append(better)
    if outside:
        text = f"{outside} of {len(xy)} regions are outside the image of {slide.shape[1]} x {slide.shape[0]} pixels."
        advice = "Give the image that the positions refer to as `image`, and its pixel size as `mpp`."
        if better:
            advice = f"See {better.code}."
        findings.append(Finding("error", "outside", text, advice, {"outside": outside, "regions": len(xy)}))
    value: dict[str, object] = {"share": share}
    text = f"{share:.0%} of the regions are on tissue."
    if share >= _MOST_ON_TISSUE:
        return [*findings, Finding("info", "on-tissue", text, value=value)]
    level: Level = "error" if share < _FEW_ON_TISSUE else "warning"
    advice = (
        "Check that the image and the positions are from the same section; `pixnet inspect --out DIR` draws them. To "
        "leave out regions beside the tissue, set `include` or `exclude` to a file of outlines."
    )
    if better:
        advice = f"See {better.code}."
    return [*findings, Finding(level, "on-tissue", text, advice, value)]


def _better_orientation(layout: Layout, tissue: TissueMask, share: float, outside: int) -> Finding | None:
    """Return the orientation that puts clearly more regions on tissue, or all of them into the image, if one does.

    `share` of the regions is on tissue as they are written, and `outside` of them are outside the image.
    """
    shares = {
        name: float(tissue.holds(_turned(layout, *how), layout.width_um).mean()) for name, how in _ORIENTATIONS.items()
    }
    # The highest share first; of equal ones, the simpler orientation.
    best, second = sorted(shares, key=lambda name: -shares[name])[:2]
    if shares[best] < share + _CLEARLY_MORE or shares[best] < _MOST_ON_TISSUE:
        return _swapped_inside(layout, shares, share, outside)
    text = (
        f"If the positions are read as {best}, {shares[best]:.0%} of the regions are on tissue; as they are written, "
        f"{share:.0%} are."
    )
    clear = shares[best] - shares[second] >= _CLEARLY_MORE / 3
    if not clear:
        text += f" With {second}, {shares[second]:.0%} would be."
    code = "swapped" if best == _SWAPPED else "flipped"
    value = {"best": best, "shares": {"as written": share, **shares}, "clear": clear}
    level: Level = "error" if share < _FEW_ON_TISSUE or outside else "warning"
    return Finding(level, code, text, _how_to_reorient(best, layout.options), value)


def _swapped_inside(layout: Layout, shares: Mapping[str, float], share: float, outside: int) -> Finding | None:
    """Find swapped axes by the image's frame, where the tissue cannot show them because it fills the image."""
    inside = _inside(layout, _turned(layout, *_ORIENTATIONS[_SWAPPED])).all()
    if not outside or not inside or shares[_SWAPPED] < max(share, _MOST_ON_TISSUE):
        return None
    text = (
        f"If the positions are read as {_SWAPPED}, all regions are inside the image and {shares[_SWAPPED]:.0%} of them "
        f"are on tissue; as they are written, {outside} are outside and {share:.0%} on tissue."
    )
    value = {"best": _SWAPPED, "shares": {"as written": share, **shares}, "clear": False}
    return Finding("error", "swapped", text, _how_to_reorient(_SWAPPED, layout.options), value)


def _how_to_reorient(orientation: str, options: Collection[str]) -> str:
    """Return advice on how to bring the positions onto the tissue, with an option of the platform if it has one."""
    if "alignment" in options:
        return "Set `alignment` to the file with the alignment that belongs to this image."
    if orientation == _SWAPPED:
        if "swap_xy" in options:
            return "Use `swap_xy=True`."
        return "Exchange the columns of x and y in the file of positions; this platform has no option for that."
    mirrored = sum(_ORIENTATIONS[orientation]) % 2
    if "image_transform" in options and not mirrored:
        return (
            "Turn the image as it was when the platform's software was run, or set `image_transform` to a file with "
            "the 3 x 3 matrix from that image to this one."
        )
    return (
        "Turn or flip the image as it was when the platform's software was run, or write the positions again for this "
        "image."
    )


def _turned(layout: Layout, swap: bool, flip_x: bool, flip_y: bool) -> Places:
    places = layout.xy_um[:, ::-1].copy() if swap else layout.xy_um.copy()
    if flip_x:
        places[:, 0] = layout.slide.width_um - places[:, 0]
    if flip_y:
        places[:, 1] = layout.slide.height_um - places[:, 1]
    return places


def _inside(layout: Layout, places: Places) -> NDArray[np.bool_]:
    inside = (places >= 0) & (places <= [layout.slide.width_um, layout.slide.height_um])
    return np.asarray(inside.all(axis=1), np.bool_)
