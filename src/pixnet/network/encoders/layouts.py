"""Names of a transformer's weights: from the layouts in which publishers store them to timm's."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from pixnet.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from pixnet.network.encoders.registry import Definition

# Parts of the names in Hugging Face's `transformers`, in the order in which they are replaced.
_EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
}
_DINOV2 = {
    "attention.output.dense.": "attn.proj.",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.weights_in.": "mlp.fc1.",
    "mlp.weights_out.": "mlp.fc2.",
}
_VIT = {
    "attention.output.dense.": "attn.proj.",
    "intermediate.dense.": "mlp.fc1.",
    "output.dense.": "mlp.fc2.",
    "layernorm_before.": "norm1.",
    "layernorm_after.": "norm2.",
}
_QUERY = re.compile(r"(.*)attention\.attention\.query\.(weight|bias)")


def timm_names(state: Mapping[str, Tensor], definition: Definition, origin: str) -> dict[str, Tensor]:
    """Return weights under timm's names; `origin` names their file in a message.

    `transformers` keeps queries, keys and values apart, and timm joins them, in this order.
    """
    prefix = definition.prefix
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if definition.layout == "timm":
        return state
    # A model with a head is stored with the encoder's name before each of its weights.
    inner = {"dinov2": "dinov2.", "vit": "vit."}[definition.layout]
    state = {name.removeprefix(inner): value for name, value in state.items()}
    parts = _EMBEDDINGS | (_DINOV2 if definition.layout == "dinov2" else _VIT)
    result = {}
    for name, value in state.items():
        if joined := _QUERY.fullmatch(name):
            before, kind = joined.groups()
            names = [f"{before}attention.attention.{part}.{kind}" for part in ("query", "key", "value")]
            if missing := [part for part in names if part not in state]:
                raise ModelError(f"{origin}: has no weights for {missing[0]}.")
            name, value = f"{before}attn.qkv.{kind}", torch.cat([state[part] for part in names])
        for old, new in parts.items():
            name = name.replace(old, new, 1)
        name = re.sub(r"^encoder\.layer\.", "blocks.", name)
        result[re.sub(r"^layernorm\.", "norm.", name)] = value
    if {"reg_token", "pos_embed", "cls_token"} <= set(result):
        # timm's models with registers have positions of patches alone.
        result["cls_token"] = result["cls_token"] + result["pos_embed"][:, :1]
        result["pos_embed"] = result["pos_embed"][:, 1:]
    return result


def with_positions_resampled(state: dict[str, Tensor], model: nn.Module, how: str) -> dict[str, Tensor]:
    """Return the weights with position embeddings for the model's window, where they are those of another one.

    DINOv2's, for example, are those of windows of 518 px. `how` is `Definition.positions`.
    """
    wanted, given = getattr(model, "pos_embed", None), state.get("pos_embed")
    if wanted is None or given is None or given.shape == wanted.shape or given.dim() != 3:
        return state
    others = 0 if getattr(model, "no_embed_class", False) else int(model.num_prefix_tokens)  # type: ignore[arg-type]
    side = math.isqrt(max(given.shape[1] - others, 0))
    if given.shape[2] != wanted.shape[2] or side == 0 or side**2 != given.shape[1] - others:
        return state  # loading names the shapes that do not fit
    height, width = model.patch_embed.grid_size  # type: ignore[union-attr,misc]
    grid = given[:, others:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if how == "offset":
        scale = ((height + 0.1) / side, (width + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
    else:
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", antialias=how == "timm")
    positions = grid.permute(0, 2, 3, 1).reshape(1, height * width, -1).to(given.dtype)
    return {**state, "pos_embed": torch.cat([given[:, :others], positions], dim=1)}
