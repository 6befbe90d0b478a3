"""Checkpoints of a training: a digest, then an archive of torch. Nothing in it is executed when it is read."""

from __future__ import annotations

import hashlib
import pickle
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import torch

from pixnet.errors import ModelError
from pixnet.files import replacing

_DIGEST_BYTES = 32  # of SHA-256


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill or a power failure leaves the old one or the new one."""
    with replacing(path) as partial, partial.open("wb+") as file:
        file.write(bytes(_DIGEST_BYTES))
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # torch has an error of its own for a full disk.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        found = _digest(file)
        file.seek(0)
        file.write(found)


def load_checkpoint(path: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU, and load the state of each module or optimiser by its name."""
    try:
        with path.open("rb") as file:
            if file.read(_DIGEST_BYTES) != _digest(file):
                raise ValueError("not as it was written")
            file.seek(_DIGEST_BYTES)
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path}: cannot be resumed from: it is damaged or belongs to another network ({type(error).__name__}). "
            "Delete it and continue; its stage of the training is then repeated."
        ) from error
    return state


def _digest(file: BufferedIOBase) -> bytes:
    """Return the SHA-256 of what follows the digest."""
    file.seek(_DIGEST_BYTES)
    return hashlib.file_digest(file, "sha256").digest()
