"""What the card of a model must hold, so that nobody who reads it meets a surprise."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pixnet.config import Config

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Positive = Annotated[float, Field(gt=0)]
Colour = tuple[float, float, float]


class _Facts(BaseModel):
    # Later versions may add facts; their numbers were checked to be finite as the JSON was read.
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class StainFacts(_Facts):
    """Stain of a slide; see `pixnet.slide.stain.StainProfile`."""

    mean: Colour
    sd: Colour


class SampleFacts(_Facts):
    """A sample that the model was trained on."""

    id: str
    donor: str | None
    platform: str
    regions: Count
    region_size_um: Positive
    median_counts: Annotated[float, Field(ge=0)]
    mpp: Positive
    mpp_source: str
    slide_sha256: Hash
    stain: StainFacts | None = None


class EncoderFacts(_Facts):
    """The encoder of the model."""

    name: str
    sha256: Hash
    inside: bool
    # Version 0.1.0 did not state these.
    mean: Colour | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    window: Count = 0


class CardFacts(_Facts):
    """Everything in a card; see `pixnet.model.card.make_card`."""

    pixnet_version: str
    genes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=1_000_000)]
    gene_rule: str
    outputs: Annotated[int, Field(gt=0, le=1_000_001)]
    head: Literal["rate", "mean", "sum"]
    units: str
    normalisation: str
    mpp: Positive
    pitch_um: Positive
    encoder: EncoderFacts
    samples: Annotated[tuple[SampleFacts, ...], Field(min_length=1)]
    expected: dict[str, Any] | None = None
    steps: Count
    seed: Count
    config: Config
    weights_sha256: Hash
    metrics: tuple[dict[str, float | str], ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        network = self.config.network
        for name, stated, meant in (
            ("mpp", self.mpp, network.mpp),
            ("pitch_um", self.pitch_um, network.pitch_um),
            ("head", self.head, network.head),
            ("encoder.name", self.encoder.name, network.encoder.name),
            ("outputs", self.outputs, len(self.genes) + (self.head == "rate")),
        ):
            if stated != meant:
                raise ValueError(f"{name} is {stated!r}, but the rest of the card means {meant!r}")
        if len(set(self.genes)) < len(self.genes):
            raise ValueError("a gene is named twice")
        return self


def card_problem(card: dict[str, Any]) -> str:
    """Return what is wrong with a card, as a part of a sentence; "" if nothing is."""
    try:
        CardFacts.model_validate(card)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}"[:200].removeprefix(": ")
    return ""
