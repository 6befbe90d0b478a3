"""The registry of encoders: what a short name such as `uni2-h` stands for.

`registry.toml` holds the publishers' facts. A configuration may bring a definition of its own.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator, model_validator

# What may be passed to timm: the shape of a plain vision transformer, and nothing that loads or runs a file.
_ARGUMENTS = {
    *("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "init_values", "qkv_bias"),
    *("reg_tokens", "no_embed_class", "class_token", "global_pool", "dynamic_img_size", "mlp_layer", "act_layer"),
}
_LAYERS = {"mlp_layer": ("GluMlp", "Mlp", "SwiGLU", "SwiGLUPacked"), "act_layer": ("GELU", "SiLU")}
# Larger ones are not known, and a configuration must not ask for any amount of memory.
_MOST_PARAMETERS = 3e9
_LARGEST = {"img_size": 1024, "patch_size": 64, "embed_dim": 4096, "depth": 64, "num_heads": 64, "mlp_ratio": 8}

Colour = tuple[float, float, float]


class Definition(BaseModel):
    """A transformer that sees windows of one size: how timm builds it, what it was trained on, where its weights are.

    Attributes
    ----------
    architecture, arguments
        Name of a timm model and the arguments that its constructor takes.
    mean, std
        Mean and standard deviation of the input, for values in 0..1.
    mpp, window, patch
        Resolution that it was trained at in um per pixel, and side of its windows and of its patches in pixels.
    hub, file
        Repository on the Hugging Face hub, and the file of weights in it.
    layout, prefix
        Names of the weights in that file: those of timm, or those of `transformers` for DINOv2 or ViT; and what stands
        before each of them.
    positions
        How position embeddings stored for windows of another size are resampled: as timm does, without antialiasing
        (`"plain"`), or so with a scale for a tenth of a patch more (`"offset"`), as in DINOv2's own code.
    sha256
        Hash of the file, if the publisher states it.
    title, licence, gated, parameters, note
        Facts for `pixnet encoders`; `parameters` are in millions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    architecture: Annotated[str, Field(pattern=r"^\w+$")]
    arguments: dict[str, bool | int | float | str] = {}
    mean: Colour = (0.485, 0.456, 0.406)
    std: Colour = (0.229, 0.224, 0.225)
    mpp: PositiveFloat = 0.5
    window: Annotated[int, Field(gt=0, le=1024)] = 224
    patch: Annotated[int, Field(gt=0, le=64)] = 14
    hub: Annotated[str, Field(pattern=r"^([\w.-]+/[\w.-]+)?$")] = ""
    file: Annotated[str, Field(pattern=r"^\w[\w.-]*$")] = "model.safetensors"
    layout: Literal["timm", "dinov2", "vit"] = "timm"
    prefix: str = ""
    positions: Literal["timm", "plain", "offset"] = "timm"
    sha256: str = ""
    title: str = ""
    licence: str = ""
    gated: bool = False
    parameters: float = 0.0
    note: str = ""

    @field_validator("arguments")
    @classmethod
    def _arguments_are_plain(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(arguments) - _ARGUMENTS):
            raise ValueError(
                f"{unknown[0]!r} is not an argument that may be set; these may: {', '.join(sorted(_ARGUMENTS))}"
            )
        for name in _LAYERS.keys() & arguments.keys():
            if arguments[name] not in _LAYERS[name]:
                raise ValueError(f"{name} is {arguments[name]!r}; use one of {', '.join(_LAYERS[name])}")
        for name, most in _LARGEST.items():
            value = arguments.get(name, 1)
            if isinstance(value, str) or not 0 < value <= most:
                raise ValueError(f"{name} is {value!r}; it must be a positive number of at most {most}")
        return arguments

    @model_validator(mode="after")
    def _windows_hold_patches(self) -> Definition:
        if self.window % self.patch or self.window < 2 * self.patch:
            raise ValueError(f"a window of {self.window} px cannot be cut into patches of {self.patch} px")
        depth, width = (float(self.arguments.get(name, most)) for name, most in (("depth", 40), ("embed_dim", 1536)))
        if 12 * depth * width**2 > _MOST_PARAMETERS:
            raise ValueError(f"an encoder of {depth:g} blocks and {width:g} channels is larger than any that is known")
        if min(self.std) <= 0:
            raise ValueError("every std must be positive")
        return self

    @property
    def construction(self) -> dict[str, Any]:
        """What its features depend on, besides its weights."""
        facts = ("title", "licence", "gated", "parameters", "note", "hub", "file", "sha256")
        return self.model_dump(mode="json", exclude=set(facts))


@cache
def definitions() -> dict[str, Definition]:
    """Return the encoders of the registry by their short names."""
    text = files("pixnet.network.encoders").joinpath("registry.toml").read_text(encoding="utf-8")
    return {name: Definition.model_validate(entry) for name, entry in tomllib.loads(text).items()}
