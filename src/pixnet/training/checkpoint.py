"""Checkpoints of a running training: written whole or not at all, read without unpickling code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from pixnet.errors import ModelError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside its place and move it there in one step."""
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint and put the state of each part back.

    Raises
    ------
    ModelError
        If the file is damaged or belongs to another configuration.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path}: cannot be resumed from, it is damaged or of another network ({type(error).__name__}); train "
            "again without --resume."
        ) from error
    return state
