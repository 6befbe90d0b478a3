"""Checkpoints of a training: complete or not there at all, and read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from pixnet.errors import ModelError
from pixnet.files import replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill leaves the old one or the new one."""
    with replacing(path, sync=True) as partial, partial.open("wb") as file:
        torch.save(state, file)


def load_checkpoint(path: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint, and load the state of each part into it.

    Parameters
    ----------
    path
        The file.
    parts
        Modules and optimisers by the name of their state in the checkpoint.

    Returns
    -------
    dict
        The complete state, tensors on the CPU.

    Raises
    ------
    ModelError
        If the file is damaged or belongs to another network.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path}: cannot be resumed from: it is damaged or belongs to another network ({type(error).__name__}); "
            "train again without resume."
        ) from error
    return state
