"""What a method tells of its own cost, in a file in its folder: where it ran, and the features it made or found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixnet.files import write_whole
from pixnet.network.device import choose_device

_FILE = "spent.json"
_UNTOLD: dict[str, Any] = {"device": "cpu", "features": {"made": 0.0, "found": 0.0}}


def tell_spent(folder: Path, device: str, features: Mapping[str, float | None] | None = None) -> None:
    """Leave word of what a method used.

    Parameters
    ----------
    folder
        That of the method alone.
    device
        `"auto"`, `"cpu"` or `"cuda"`.
    features
        See `pixnet.training.feature_costs.total_costs`; none by default.
    """
    used = choose_device(device)
    if used == "cuda":
        import torch

        used = f"cuda ({torch.cuda.get_device_name()})"
    told = {"device": used, "features": features or _UNTOLD["features"]}
    write_whole(folder / _FILE, json.dumps(told))


def told_spent(folder: Path) -> dict[str, Any]:
    """Give what was told: `device` and `features`. Who leaves no word ran on the CPU and shares no features."""
    path = folder / _FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else dict(_UNTOLD)
