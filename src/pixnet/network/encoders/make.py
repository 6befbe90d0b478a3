"""Making the encoder of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pixnet.errors import ModelError
from pixnet.network.encoders.convolutional import ConvEncoder
from pixnet.network.encoders.layouts import timm_names, with_positions_resampled
from pixnet.network.encoders.sources import check_hash, check_name, locate
from pixnet.network.encoders.transformer import TransformerEncoder
from pixnet.network.encoders.weights import create_timm, load_matching, normalisation, read_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pixnet.network.config import EncoderConfig
    from pixnet.network.encoders.base import Encoder
    from pixnet.network.encoders.registry import Definition


def make_encoder(config: EncoderConfig, with_weights: bool = True) -> Encoder:
    """Return the encoder of a configuration, in evaluation mode; without its weights it only tells what it is like.

    Either way as many random numbers are drawn, so whatever is made next is the same.

    Raises
    ------
    ModelError
        If the name is not known, or if its weights cannot be had or do not fit.
    """
    name, definition = config.name, config.definition
    if definition is not None:
        model = _defined(name, definition, config.weights, with_weights)
        return TransformerEncoder(
            model, config, definition.mean, definition.std, definition.window, definition.patch
        ).eval()
    check_name(name)
    if not with_weights:
        config = config.model_copy(update={"weights": "random"})
    # Only the model itself shows whether it is a transformer. Making it without weights downloads nothing for timm's
    # own names, and only the small configuration file for a name on the hub.
    with torch.device("meta"):
        probe: Any = create_timm(name, "random")
    if not (hasattr(probe, "blocks") and hasattr(probe, "patch_embed") and hasattr(probe, "pos_embed")):
        return ConvEncoder(config).eval()
    try:
        window, patch = (int(side[0]) for side in (probe.patch_embed.img_size, probe.patch_embed.patch_size))
        plain = hasattr(probe, "forward_intermediates") and len(probe.blocks) > 0
    except (AttributeError, TypeError):
        plain = False
    if not plain:
        raise ModelError(
            f"encoder {name!r} is not a plain vision transformer of patches, which PixNet could read; choose another."
        )
    model = create_timm(name, config.weights, num_classes=0)
    return TransformerEncoder(model, config, *normalisation(model), window, patch).eval()


class EncoderMaker:
    """Makes encoders, and remembers the last frozen one for networks that start from the same random numbers."""

    def __init__(self) -> None:
        self._last: tuple[EncoderConfig, Tensor, Encoder, Tensor] | None = None

    def make(self, config: EncoderConfig) -> Encoder:
        """Return the encoder of a configuration; as many random numbers are drawn as if it were made anew."""
        before = torch.get_rng_state()
        if self._last and self._last[0] == config and torch.equal(self._last[1], before):
            torch.set_rng_state(self._last[3])
            return self._last[2]
        encoder = make_encoder(config)
        if not config.trainable:
            self._last = config, before, encoder, torch.get_rng_state()
        return encoder


def _defined(name: str, definition: Definition, weights: str, with_weights: bool) -> nn.Module:
    """Return the model of a definition, with its weights if they are wanted."""
    # Large models are made without values, which take as long to draw as to read.
    if weights == "random":
        return _built(name, definition)
    with torch.device("meta"):
        model = _built(name, definition)
    if not with_weights:
        # Models that compute constants are made again, as below.
        return _built(name, definition) if any(value.is_meta for value in model.buffers()) else model
    path = locate(name, definition, weights)
    if weights == "pretrained":
        check_hash(path, definition)
    state = timm_names(read_weights(path), definition, str(path))
    state = with_positions_resampled(state, model, definition.positions)
    load_matching(model, state, str(path), assign=True)
    if any(value.is_meta for value in model.buffers()):
        # Some models compute constants when they are made, which no file holds.
        model = _built(name, definition)
        load_matching(model, state, str(path))
    return model


def _built(name: str, definition: Definition) -> nn.Module:
    import timm

    if not timm.is_model(definition.architecture):
        raise ModelError(f"encoder {name!r}: timm does not know the architecture {definition.architecture!r}.")
    arguments: dict[str, Any] = dict(definition.arguments)
    for layer in {"mlp_layer", "act_layer"} & set(arguments):
        arguments[layer] = _layer(arguments[layer])
    try:
        model: nn.Module = timm.create_model(definition.architecture, pretrained=False, num_classes=0, **arguments)
        window, patch = (int(side[0]) for side in (model.patch_embed.img_size, model.patch_embed.patch_size))  # type: ignore[union-attr,index]
    except Exception as error:  # timm raises many kinds; all mean the same here
        raise ModelError(
            f"encoder {name!r}: timm cannot make {definition.architecture!r} with the arguments of its definition: "
            f"{type(error).__name__}: {error}."
        ) from error
    if (window, patch) != (definition.window, definition.patch) or not hasattr(model, "forward_intermediates"):
        raise ModelError(
            f"encoder {name!r}: timm's {definition.architecture!r} has windows of {window} px and patches of {patch} "
            f"px, but its definition says {definition.window} and {definition.patch}; set img_size and patch_size in "
            "`arguments`, or window and patch."
        )
    return model


def _layer(name: str) -> Any:
    from timm import layers

    return getattr(layers, name, None) or getattr(torch.nn, name)
