"""Whether a slide is like those that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pixnet.inspection.findings import Finding
from pixnet.slide import Slide
from pixnet.slide.pixel_size import COARSEST
from pixnet.slide.stain import STAINS, StainProfile, stain_distance
from pixnet.slide.tissue import TissueMask

_FAR = 4.0  # standard deviations


@dataclass(frozen=True)
class TrainedOn:
    """What must be known of a model to judge a slide.

    Attributes
    ----------
    mpp
        Working resolution in um per pixel.
    stains
        How its training slides are stained, by the sample's id; a sample without tissue has none.
    """

    mpp: float
    stains: Mapping[str, StainProfile] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> Self:
        """Take it from a model's card."""
        profiles = {str(each["id"]): StainProfile.from_json(each.get("stain")) for each in card["samples"]}
        return cls(float(card["mpp"]), {name: each for name, each in profiles.items() if each is not None})


def check_resolution_of(slide: Slide, trained: TrainedOn) -> list[Finding]:
    """Tell an image that is too coarse for a model."""
    value = {"mpp": slide.mpp, "model_mpp": trained.mpp}
    if slide.mpp <= COARSEST * trained.mpp:
        return []
    text = (
        f"{slide.path or slide.name} has {slide.mpp:.3g} um per pixel, too coarse for a model that works at "
        f"{trained.mpp:g} um/px (at most {COARSEST * trained.mpp:g})."
    )
    advice = "Give the full-resolution image as `image` (--image), or the right pixel size as `mpp` (--mpp)."
    return [Finding("error", "coarse", text, advice, value)]


def check_stain(slide: Slide, trained: TrainedOn, tissue: TissueMask | None = None) -> list[Finding]:
    """Tell a slide that is stained otherwise than those that a model was trained on; silent if these are not known."""
    profile = StainProfile.from_slide(slide, tissue) if trained.stains else None
    if profile is None:
        return []
    found = stain_distance(profile, trained.stains)
    value = {"sd": found.sd, "stain": found.stain, "nearest": found.nearest, "nearest_sd": found.nearest_sd}
    value |= {"mean": dict(zip(STAINS, profile.mean, strict=True))}
    # Between two groups of training slides nobody is near the median, but a slide of either group is known.
    if min(found.sd, found.nearest_sd) <= _FAR:
        text = f"The stain is like the training slides' ({found.sd:.1f} sd off; nearest is {found.nearest!r})."
        return [Finding("info", "stain", text, value=value)]
    told = ", ".join(
        f"{stain} {own:.2f} against {other:.2f}"
        for stain, own, other in zip(STAINS, profile.mean, found.middle, strict=True)
    )
    text = (
        f"The stain is {found.sd:.1f} sd from the training slides', most in {found.stain}; the nearest sample, "
        f"{found.nearest!r}, is {found.nearest_sd:.1f} sd away (optical density: {told})."
    )
    advice = (
        "Expect worse predictions. Add slides of this laboratory and scanner to the training, or train with a larger "
        "`stain_jitter`."
    )
    return [Finding("warning", "stain", text, advice, value)]
