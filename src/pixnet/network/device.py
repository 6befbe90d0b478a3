"""Choice of the device that a network runs on."""

from __future__ import annotations

from pixnet.errors import ModelError


def choose_device(device: str) -> str:
    """Return `"cpu"` or `"cuda"`; `"auto"` is a GPU where torch finds one."""
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise ModelError(f"device {device!r} is not known; use auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda' was requested, but torch finds no GPU; use device 'cpu'.")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
