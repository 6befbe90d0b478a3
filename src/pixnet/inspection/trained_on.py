"""Check whether a slide is like those that a model was trained on."""

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
    """A model's working resolution in um per pixel, and the stain profiles of its training slides.

    `stains` is by the sample's id, without slides that have no tissue.
    """

    mpp: float
    stains: Mapping[str, StainProfile] = field(default_factory=dict)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Self:
        """Read it from a model's card."""
        profiles = {str(sample["id"]): StainProfile.from_json(sample.get("stain")) for sample in card["samples"]}
        return cls(float(card["mpp"]), {name: profile for name, profile in profiles.items() if profile is not None})


def check_resolution_of(slide: Slide, trained: TrainedOn) -> list[Finding]:
    """Check whether the image is too coarse for a model."""
    if slide.mpp <= COARSEST * trained.mpp:
        return []
    text = (
        f"{slide.path or slide.name} has {slide.mpp:.3g} um per pixel, which is too coarse for a model that works at "
        f"{trained.mpp:g} um/px (at most {COARSEST * trained.mpp:g})."
    )
    advice = "Give the full-resolution image as `image`, or the right pixel size as `mpp`."
    return [Finding("error", "coarse", text, advice, {"mpp": slide.mpp, "model_mpp": trained.mpp})]


def check_stain(slide: Slide, trained: TrainedOn, tissue: TissueMask | None = None) -> list[Finding]:
    """Check whether a slide is stained differently from a model's training slides, if their profiles are known."""
    profile = StainProfile.from_slide(slide, tissue) if trained.stains else None
    if profile is None:
        return []
    distance = stain_distance(profile, trained.stains)
    value = {
        "sd": distance.sd,
        "stain": distance.stain,
        "nearest": distance.nearest,
        "nearest_sd": distance.nearest_sd,
        "mean": dict(zip(STAINS, profile.mean, strict=True)),
    }
    # A slide between two groups of training slides is far from their median, but near one of the groups.
    if min(distance.sd, distance.nearest_sd) <= _FAR:
        text = (
            f"The stain is like that of the training slides: {distance.sd:.1f} sd away from them, and nearest to "
            f"{distance.nearest!r}."
        )
        return [Finding("info", "stain", text, value=value)]
    densities = ", ".join(
        f"{stain} {density:.2f} instead of {middle:.2f}"
        for stain, density, middle in zip(STAINS, profile.mean, distance.middle, strict=True)
    )
    text = (
        f"The stain is {distance.sd:.1f} sd away from that of the training slides, mostly in {distance.stain}; the "
        f"nearest of them, {distance.nearest!r}, is {distance.nearest_sd:.1f} sd away. Optical density: {densities}."
    )
    advice = (
        "Expect worse predictions. Add slides of this laboratory and scanner to the training, or train with a larger "
        "`stain_jitter`."
    )
    return [Finding("warning", "stain", text, advice, value)]
