"""Settings of a network: read from TOML, written in full into the model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from pixnet.network.weights import DEFAULT_ENCODER

_ONE_DONOR_UM = (300.0, 600.0, 1200.0)  # surroundings where all training samples are of one donor


class EncoderConfig(BaseModel):
    """The encoder, the source of its weights, and the strides that are used.

    Attributes
    ----------
    name
        Name of a timm model, or `hf-hub:owner/model`.
    weights
        `"imagenet"` (pretrained), `"random"`, or the path of a safetensors file.
    stride
        Deepest stride used, in pixels. Convolutional encoders stop there; a plain ViT's tokens are resampled to it.
    finest
        Finest stride used, in pixels. The pixel size of the map is `finest` times the working um/px.
    blocks
        For a plain ViT, the blocks whose tokens become the levels, finest level first; empty: evenly spaced blocks.
    trainable
        Whether to fine-tune the encoder with the decoder. Its batch normalisation uses stored statistics either way.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = DEFAULT_ENCODER
    weights: str = "imagenet"
    stride: Literal[4, 8, 16, 32] = 16
    finest: Literal[1, 2, 4, 8] = 2
    blocks: tuple[int, ...] = ()
    trainable: bool = False

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

    channels: tuple[PositiveInt, ...] = (32, 32, 48, 64)
    dsub_steps: int = Field(1, ge=0)
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
        with those of its deepest level; empty: none. None: decided by the training samples, see `settled`.
    surroundings_zoom
        How many times coarser than `mpp` the image is in which the encoder sees the surroundings.
    head
        `"rate"` (counts per um^2), `"mean"` or `"sum"` (log-normalised, as in the paper).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    preset: str = "small"
    mpp: float = Field(1.0, gt=0.0)
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    surroundings_um: tuple[PositiveFloat, ...] | None = None
    surroundings_zoom: Literal[1, 2, 4, 8] = 4
    head: Literal["rate", "mean", "sum"] = "rate"

    @property
    def pitch_um(self) -> float:
        """Side of a pixel of the latent map, in um."""
        return self.mpp * self.encoder.finest

    def settled(self, donors: Sequence[str | None]) -> NetworkConfig:
        """Return the configuration with the choice that depends on the donors of the training samples made.

        Wide surroundings show where on a slide a place is. That helps much between sections of one donor. With several
        donors the network memorises them, and predicts other donors worse than without (benchmarks/notes/tried.md). A
        sample whose donor is None counts as a donor of its own.
        """
        if self.surroundings_um is not None:
            return self
        one_donor = len(donors) == 1 or (len(set(donors)) == 1 and donors[0] is not None)
        return self.model_copy(update={"surroundings_um": _ONE_DONOR_UM if one_donor else ()})


# `paper` has the published widths. The decoder of `small` takes at most half the time of its encoder, for a CPU.
PRESETS = {
    "small": NetworkConfig(),
    "paper": NetworkConfig(
        preset="paper",
        encoder=EncoderConfig(stride=32, finest=1),
        decoder=DecoderConfig(channels=(64, 128, 256, 512, 512, 512), dsub_steps=3),
    ),
}
