"""Predicting a slide against the bare network on tiles that are already in memory."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pixnet.field import LinearHead, build_field
from pixnet.grid import Lattice
from pixnet.network.config import PRESETS
from pixnet.network.network import Network
from pixnet.slide import Slide

_SIDE = 3072
_CORE = 1024


def run() -> dict[str, float | str]:
    """Compare a field of 3072 x 3072 px with its bare forward passes, and count the pixels of the halo."""
    network = Network(PRESETS["small"], 251).eval()
    rgb = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    slide = Slide.from_array(rgb, 1.0)
    lattice = Lattice(slide.width_um, slide.height_um, 1.0, network.stride, network.halo)
    weight, bias = (t.detach().numpy() for t in network.head.linear())
    head = LinearHead("rate", (*(f"g{i}" for i in range(250)), "other"), weight, bias, "counts per um^2")

    def latent(tile: np.ndarray) -> np.ndarray:
        return network.latent(torch.from_numpy(tile).permute(2, 0, 1)).numpy()

    tile = np.full((_CORE + 2 * network.halo, _CORE + 2 * network.halo, 3), 128, np.uint8)
    latent(tile)  # the first pass chooses its kernels
    tiles = len(list(lattice.tiles(_CORE)))
    start = time.perf_counter()
    for _ in range(tiles):
        latent(tile)
    bare = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        build_field(slide, lattice, network.strides[0], latent, head, Path(folder) / "field", core=_CORE, card={})
        whole = time.perf_counter() - start
    return {
        "predict over the bare network on the same tiles": round(whole / bare, 3),
        "network pixels over slide pixels kept": round(tiles * tile.shape[0] ** 2 / _SIDE**2, 2),
        "megapixels of slide per second": round(_SIDE**2 / 1e6 / whole, 2),
    }
