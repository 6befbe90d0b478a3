"""Settings of a network: read from TOML, written in full into the model card."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from pixnet.network.encoders.registry import Definition, definitions

DEFAULT_ENCODER = "tf_efficientnet_lite0"
# Far beyond what is used: a slip of the pen, or a stranger's card, must not ask for any amount of memory.
Width = Annotated[int, Field(gt=0, le=4096)]  # channels
Span = Annotated[float, Field(gt=0, le=100_000)]  # um
Finest = Literal[1, 2, 4, 8]
Deepest = Literal[4, 8, 16, 32, 64]


class EncoderConfig(BaseModel):
    """The encoder, the source of its weights, and the strides that are used.

    Attributes
    ----------
    name
        Name in the registry (`pixnet encoders`) or in `definition`, of a timm model, or `hf-hub:owner/model`.
    weights
        `"pretrained"`, `"random"`, or the path of a file of weights; for an encoder of the registry also of a folder
        that holds it.
    stride
        Deepest stride used, in pixels. Convolutional encoders stop there; a transformer's tokens are resampled to it.
    finest
        Finest stride used, in pixels. The pixel size of the map is `finest` times the working um/px.
    blocks
        For a transformer, the blocks whose tokens become the levels, finest level first; empty: evenly spaced blocks.
    trainable
        Whether to fine-tune the encoder with the decoder. Its batch normalisation uses stored statistics either way.
    definition
        How a transformer is built and what it was trained on; taken from the registry if its name is there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = DEFAULT_ENCODER
    weights: str = "pretrained"
    stride: Deepest = 16
    finest: Finest = 2
    blocks: tuple[int, ...] = Field((), max_length=64)
    trainable: bool = False
    definition: Definition | None = None

    @model_validator(mode="before")
    @classmethod
    def _known_by_name(cls, data: Any) -> Any:
        if isinstance(data, dict):
            # Models of earlier versions call the weights after ImageNet, whatever they were trained on.
            data = {**data, "weights": "pretrained"} if data.get("weights") == "imagenet" else data
            name = data.get("name", DEFAULT_ENCODER)
            if data.get("definition") is None and isinstance(name, str) and (known := definitions().get(name)):
                data = {**data, "definition": known}
            if data.get("definition") is not None and name == DEFAULT_ENCODER:
                raise ValueError("a definition needs a name of its own; set `name` beside it")
        return data

    @model_serializer(mode="wrap")
    def _without_absent_definition(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return values if self.definition is not None else {k: v for k, v in values.items() if k != "definition"}

    @model_validator(mode="after")
    def _finest_is_finer(self) -> EncoderConfig:
        if self.finest >= self.stride:
            raise ValueError(f"finest stride {self.finest} must be below the deepest, {self.stride}")
        return self

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the levels, finest first, each twice the one before."""
        return tuple(self.finest * 2**level for level in range((self.stride // self.finest).bit_length()))


class DecoderConfig(BaseModel):
    """How the decoder brings the pyramid back to the finest stride.

    Attributes
    ----------
    channels
        Width of each level, finest first; the first is the number of latent channels.
    dsub_steps
        Number of the deepest upsampling steps that use depth-to-space; the others are bilinear.
    fusion
        Block that fuses the feature of a level with the upsampled map of the level below: `"safb"` (as in the paper)
        or, for comparison, `"plain"` convolutions, a `"residual"` block or a `"vit"` (transformer) block.
    attention
        Axis of the attention in SAFB: `"channel"` (element-wise, per pixel over channels), `"local"` (each pixel over
        its 3 x 3 neighbours) or `"row"` (along each image row; depends on the tile, for comparison only).
    skips
        Whether to add to the latent map a projection of every level, upsampled bilinearly.
    dropout
        Share of the encoder's channels dropped per tile while training the decoder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    channels: tuple[Width, ...] = Field((32, 32, 48, 64), max_length=8)
    dsub_steps: int = Field(1, ge=0, le=8)
    fusion: Literal["safb", "plain", "residual", "vit"] = "safb"
    attention: Literal["channel", "local", "row"] = "channel"
    skips: bool = True
    dropout: float = Field(0.4, ge=0.0, lt=1.0)


class NetworkConfig(BaseModel):
    """The complete network.

    Attributes
    ----------
    preset
        Name of the preset that the other values came from, for information only.
    mpp
        Working resolution, in um per pixel.
    surroundings_um
        Widths, in um, of the squares around each pixel over which the encoder's features are averaged and concatenated
        with those of its deepest level; empty or None: none. In a `Config` None is decided by its target.
    surroundings_zoom
        How many times coarser than `mpp` the image is in which the encoder sees the surroundings.
    head
        `"rate"` (counts per um^2), `"mean"` or `"sum"` (log-normalised, as in the paper).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    preset: str = "small"
    mpp: float = Field(1.0, ge=0.01, le=100.0)
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    surroundings_um: tuple[Span, ...] | None = Field(None, max_length=16)
    surroundings_zoom: Literal[1, 2, 4, 8] = 4
    head: Literal["rate", "mean", "sum"] = "rate"

    def with_encoder(self, name: str, definition: Definition | None = None, mpp: float | None = None) -> Self:
        """Return the configuration with another encoder, at a resolution, by default the one that it was trained at.

        The strides change by a power of two, so that they are about as many um as before, as far as strides go. An
        encoder without a definition, whose resolution is not known, leaves resolution and strides as they are.
        """
        changed = self.encoder.model_copy(update={"name": name, "definition": definition or definitions().get(name)})
        if (known := changed.definition) is None:
            return self.model_copy(update={"encoder": changed})
        mpp = mpp or known.mpp
        finest, deepest = get_args(Finest)[-1] // changed.finest, get_args(Deepest)[-1] // changed.stride
        factor = min(2 ** max(0, round(math.log2(self.mpp / mpp))), finest, deepest)
        strides = {"stride": factor * changed.stride, "finest": factor * changed.finest}
        return self.model_copy(update={"mpp": mpp, "encoder": changed.model_copy(update=strides)})

    @property
    def pitch_um(self) -> float:
        """Side of a pixel of the latent map, in um."""
        return self.mpp * self.encoder.finest


# `paper` has the published widths. The decoder of `small` takes at most half the time of its encoder, for a CPU.
PRESETS = {
    "small": NetworkConfig(),
    "paper": NetworkConfig(
        preset="paper",
        encoder=EncoderConfig(stride=32, finest=1),
        decoder=DecoderConfig(channels=(64, 128, 256, 512, 512, 512), dsub_steps=3),
    ),
}
