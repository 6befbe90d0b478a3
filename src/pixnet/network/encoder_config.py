"""What an encoder is: a module of its own, since methods that know no decoder use one too."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from pixnet.network.weights import DEFAULT_ENCODER


class EncoderConfig(BaseModel):
    """Which encoder, where its weights come from, and how deep it is used.

    Attributes
    ----------
    name
        A timm model, or `hf-hub:owner/model`.
    weights
        `"imagenet"` (pretrained), `"random"`, or the path of a safetensors file.
    stride
        Deepest stride used, in pixels. Convolutional encoders stop there; a plain ViT's tokens are resampled to it.
    finest
        Finest stride used, in pixels. The output pitch is `finest` times the working um/px.
    blocks
        For a plain ViT: the blocks whose tokens become the levels, finest level first; empty: spread evenly.
    trainable
        Fine-tune the encoder with the decoder. Its batch normalisation runs on stored statistics either way.
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
