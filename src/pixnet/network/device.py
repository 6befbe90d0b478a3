"""Which device a network runs on."""

from __future__ import annotations

from pixnet.errors import ModelError


def choose_device(device: str) -> str:
    """Resolve `"auto"` to a GPU where torch finds one.

    Raises
    ------
    ModelError
        If a GPU is asked for and there is none, or the name is unknown.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise ModelError(f"device {device!r} is not known; use auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda' was asked for, but torch finds no GPU; use --device cpu.")
    return "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
