"""Whether positions, pixel size and image fit each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pixnet.inspection.findings import Finding, Level
from pixnet.slide import Slide
from pixnet.slide.pixel_size import AGREES
from pixnet.slide.tissue import TissueMask

Places = NDArray[np.float64]

_FEW_ON_TISSUE, _MOST_ON_TISSUE, _SURELY_ON_TISSUE = 0.4, 0.7, 0.85
_CLEARLY_MORE = 0.2  # regions on tissue that another orientation must gain
_SMALLER = 0.97
_MUCH_LARGER = 1.3  # times the image that positions must reach before it is taken for a smaller copy

# From (x, y) and the image's (width, height), the place that is meant if the positions are written otherwise.
_SYMMETRIES = {
    "x counted from the right": (False, True, False),
    "y counted from the bottom": (False, False, True),
    "turned by 180 degrees": (False, True, True),
    "x and y swapped": (True, False, False),
    "x and y swapped, then x counted from the right": (True, True, False),
    "x and y swapped, then y counted from the bottom": (True, False, True),
    "x and y swapped, then turned by 180 degrees": (True, True, True),
}


@dataclass(frozen=True)
class Layout:
    """Regions over a slide.

    Attributes
    ----------
    slide
        The image; its pixel size may be made up if none is known.
    xy_um
        (n, 2) centres, perhaps outside the slide.
    width_um
        Width of a region.
    options
        Keys that the platform's entry in a manifest may have.
    step
        Of many regions, only each one in so many is here.
    """

    slide: Slide
    xy_um: Places
    width_um: float
    options: Collection[str] = ()
    step: int = 1


def check_pixel_size(mpp: float, source: str, pitch_px: float | None, pitch_um: float | None) -> list[Finding]:
    """Compare the pixel size with the distance of neighbouring regions.

    Parameters
    ----------
    mpp, source
        um per pixel, and where it is from.
    pitch_px, pitch_um
        Distance of neighbours in pixels of the image, and what the platform makes it; None if not known.
    """
    value = {"mpp": mpp, "source": source, "pitch_px": pitch_px, "pitch_um": pitch_um}
    if pitch_px is None or pitch_um is None:
        return [Finding("info", "pixel-size", f"{mpp:.4g} um per pixel ({source}).", value=value)]
    measured = pitch_um / pitch_px
    value["mpp_of_pitch"] = measured
    if abs(mpp - measured) > AGREES * measured:
        return [
            Finding(
                "error",
                "pixel-size",
                f"{mpp:.4g} um per pixel ({source}) contradicts the regions, which are {pitch_px:.1f} pixels and "
                f"{pitch_um:g} um apart: {measured:.4g} um per pixel.",
                f"Give the pixel size of the full-resolution image as `mpp` (--mpp {measured:.3g}), or leave it "
                "out; or the image that the positions refer to as `image` (--image).",
                value,
            )
        ]
    text = f"{mpp:.4g} um per pixel ({source}); the array's pitch of {pitch_um:g} um measures {pitch_px * mpp:.1f} um."
    return [Finding("info", "pixel-size", text, value=value)]


def check_full_resolution(
    slide: Slide, pictures: Mapping[str, tuple[float, float]], xy_px: Places | None
) -> list[Finding]:
    """Tell an image that is a smaller copy of the one that the positions refer to.

    Parameters
    ----------
    slide
        The image.
    pictures
        Height and width of the full-resolution image, by the picture that tells.
    xy_px
        (n, 2) positions in its pixels; None if not known.
    """
    advice = "Give the full-resolution image that the pipeline was run on as `image` (--image)."
    height, width = slide.shape
    name = slide.path or slide.name
    for picture, stated in pictures.items():
        ratios = height / stated[0], width / stated[1]
        if max(ratios) < _SMALLER:
            alike = max(ratios) - min(ratios) <= (1 - _SMALLER) * max(ratios)
            text = (
                f"{name} has {width} x {height} pixels, but by {picture} the positions refer to {stated[1]:.0f} x "
                f"{stated[0]:.0f}: it is {'a smaller copy' if alike else 'another image'}."
            )
            return [Finding("error", "not-full-resolution", text, advice, {"ratio": max(ratios)})]
    if xy_px is not None and len(xy_px):
        reach = np.quantile(xy_px, 0.98, axis=0)
        # Swapped positions reach beyond one side at most, and not beyond the longer one.
        if (reach > _MUCH_LARGER * np.array([width, height])).any() and reach.max() > _MUCH_LARGER * max(width, height):
            text = (
                f"{name} has {width} x {height} pixels, but the positions reach to {reach[0]:.0f}, {reach[1]:.0f}: "
                "it is a smaller copy, or another image."
            )
            return [Finding("error", "not-full-resolution", text, advice, {"reach_px": reach})]
    return []


def check_places(layout: Layout, tissue: TissueMask, written: Places | None = None) -> list[Finding]:
    """Say whether regions lie inside the image and on tissue; where not, which orientation would put them there.

    Parameters
    ----------
    layout
        Regions over the slide.
    tissue
        Where it has tissue.
    written
        (n, 2) centres in um of those regions too that the reader left out for lying outside; None: it left out none.
    """
    slide, xy = layout.slide, layout.xy_um
    extent = np.array([slide.width_um, slide.height_um])
    outside = int((~((xy >= 0) & (xy <= extent)).all(axis=1)).sum())
    share = float(tissue.holds(xy, layout.width_um).mean())
    findings = []
    every = layout if written is None else replace(layout, xy_um=written)
    share_of_all = share if written is None else float(tissue.holds(written, layout.width_um).mean())
    sure = share_of_all >= _SURELY_ON_TISSUE
    better = None if sure and not outside else _better_orientation(every, tissue, share_of_all, outside)
    if better is not None:
        findings.append(better)
    if outside:
        text = f"{outside} of {len(xy)} regions lie outside the image of {slide.shape[1]} x {slide.shape[0]} pixels."
        advice = (
            f"See {better.code}."
            if better
            else (
                "Give the image that the positions refer to as `image` (--image), and its pixel size as `mpp` (--mpp)."
            )
        )
        findings.append(Finding("error", "outside", text, advice, {"outside": outside, "regions": len(xy)}))
    value: dict[str, object] = {"share": share}
    text = f"{share:.0%} of the regions lie on tissue."
    if share >= _MOST_ON_TISSUE:
        return [*findings, Finding("info", "on-tissue", text, value=value)]
    level: Level = "error" if share < _FEW_ON_TISSUE else "warning"
    advice = (
        f"See {better.code}." if better else "Check that image and positions are of one section; draw overlay.png "
        "(--out) to see. Regions beside the tissue can be left out with `include` (--set include=FILE) or `exclude` "
        "(--set exclude=FILE)."
    )  # fmt: skip
    return [*findings, Finding(level, "on-tissue", text, advice, value)]


def _better_orientation(layout: Layout, tissue: TissueMask, share: float, outside: int) -> Finding | None:
    """Try the other seven symmetries; give the one that puts clearly more regions on tissue, or all into the image."""
    shares = {
        name: float(tissue.holds(_turned(layout, *how), layout.width_um).mean()) for name, how in _SYMMETRIES.items()
    }
    # Sorted by share; of equal ones the simpler comes first.
    ranked = sorted(shares, key=lambda name: -shares[name])
    best, second = ranked[:2]
    if shares[best] < share + _CLEARLY_MORE or shares[best] < _MOST_ON_TISSUE:
        return _swapped_inside(layout, shares, share, outside)
    told = f"as {best}, {shares[best]:.0%} of the regions lie on tissue; as written, {share:.0%}"
    clear = shares[best] - shares[second] >= _CLEARLY_MORE / 3
    if not clear:
        told += f" ({second}: {shares[second]:.0%})"
    swapped, flipped = _SYMMETRIES[best][0], any(_SYMMETRIES[best][1:])
    code = "swapped" if swapped and not flipped else "flipped"
    advice = _way_back(_SYMMETRIES[best], layout.options)
    value = {"best": best, "shares": {"as written": share, **shares}, "clear": clear}
    level: Level = "error" if share < _FEW_ON_TISSUE or outside else "warning"
    return Finding(level, code, f"Read {told}.", advice, value)


def _swapped_inside(layout: Layout, shares: Mapping[str, float], share: float, outside: int) -> Finding | None:
    """Tell that no region lies outside once x and y are swapped, where tissue all over the image says nothing."""
    name = "x and y swapped"
    places = _turned(layout, *_SYMMETRIES[name])
    inside = ((places >= 0) & (places <= [layout.slide.width_um, layout.slide.height_um])).all()
    if not outside or not inside or shares[name] < max(share, _MOST_ON_TISSUE):
        return None
    text = (
        f"Read as {name}, all regions lie inside the image and {shares[name]:.0%} on tissue; as written, {outside} lie "
        f"outside and {share:.0%} on tissue."
    )
    value = {"best": name, "shares": {"as written": share, **shares}, "clear": False}
    return Finding("error", "swapped", text, _way_back(_SYMMETRIES[name], layout.options), value)


def _way_back(how: tuple[bool, bool, bool], options: Collection[str]) -> str:
    """Say how positions can be brought onto the tissue, by an option if there is one."""
    if "alignment" in options:
        return "Give the alignment that belongs to this image as `alignment` (--set alignment=FILE)."
    if how == (True, False, False):
        if "swap_xy" in options:
            return "Give `swap_xy` = true (--swap-xy)."
        return "Exchange the columns of x and y in the positions; this platform has no option for that."
    mirrored = sum(how) % 2
    if "image_transform" in options and not mirrored:
        return (
            "Turn the image as the pipeline had it, or give the 3 x 3 matrix from that image to this one as "
            "`image_transform` (--set image_transform=FILE)."
        )
    return "Turn or flip the image as the pipeline had it, or write the positions anew for this image."


def _turned(layout: Layout, swap: bool, flip_x: bool, flip_y: bool) -> Places:
    places = layout.xy_um[:, ::-1].copy() if swap else layout.xy_um.copy()
    if flip_x:
        places[:, 0] = layout.slide.width_um - places[:, 0]
    if flip_y:
        places[:, 1] = layout.slide.height_um - places[:, 1]
    return places
