"""Compare a file of weights with the network that it is for, before memory for either is asked for."""

from __future__ import annotations

from pathlib import Path

import torch

from pixnet.errors import ModelError, first_line
from pixnet.network.config import NetworkConfig
from pixnet.network.network import Network

_TYPES = {torch.float32: "F32", torch.int64: "I64", torch.bool: "BOOL"}


def check_weights(path: Path, config: NetworkConfig, outputs: int, with_encoder: bool) -> None:
    """Check names, shapes and types of the tensors in a safetensors file; RuntimeError if they are not the network's.

    The network is made without values, so a configuration that asks for any amount of memory gets none.
    """
    from safetensors import SafetensorError, safe_open

    encoder = config.encoder.model_copy(update={"weights": "random"})
    with torch.device("meta"):
        network = Network(config.model_copy(update={"encoder": encoder}), outputs)
    wanted = {name: (tuple(value.shape), _TYPES.get(value.dtype)) for name, value in network.state_dict().items()}
    if not with_encoder:
        wanted = {name: facts for name, facts in wanted.items() if not name.startswith("encoder.")}
    try:
        with safe_open(path, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is not a dictionary
            held = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: cannot be read as safetensors ({first_line(error)}); copy the folder again."
        ) from error
    if not any(name.startswith("linear.") for name in held):
        # Models of earlier versions have no linear path (`LinearPath`).
        wanted = {name: facts for name, facts in wanted.items() if not name.startswith("linear.")}
    wrong = [name for name in wanted.keys() | held.keys() if wanted.get(name) != held.get(name)]
    if wrong:
        # Earlier versions had no reassembly, which says more than any shape.
        name = min(wrong, key=lambda name: (not name.startswith("reassembly."), name))
        raise RuntimeError(f"{name} is {held.get(name, 'absent')}, expected {wanted.get(name, 'no such tensor')}")
