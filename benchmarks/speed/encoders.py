"""Every encoder of the registry in its true shape, without its weights.

Each is built with random weights, offline, and used: one window goes through the encoder, and a patch of the map is
decoded from its tokens. Seconds and memory are those of one window, in a process of its own. The largest take 6 GB.
"""

from __future__ import annotations

import time

import torch

from benchmarks.speed.figures import Figures
from benchmarks.speed.processes import answer, call
from pixnet.config import Config
from pixnet.grid import Box
from pixnet.network.crop import Crop
from pixnet.network.encoders.registry import definitions
from pixnet.network.network import Network


def run() -> Figures:
    """Build and use each encoder; its resolution and the normalisation of its input must be the published ones."""
    figures: Figures = {}
    for name, known in definitions().items():
        found = call("encoders", "one", name)
        assert found["mpp"] == known.mpp
        assert found["mean"] == [round(value, 6) for value in known.mean]
        assert found["std"] == [round(value, 6) for value in known.std]
        facts = f"{found['parameters']:.1f} M parameters, {found['mpp']:g} um/px, map of {found['pitch_um']:g} um"
        figures[name] = f"{facts}, {found['seconds']:.2f} s a window, {found['peak_gb']:.1f} GB"
    return figures


def one(name: str) -> dict[str, object]:
    """Build an encoder and its network, and use both."""
    config = Config.from_dict({"network": {"encoder": {"name": name, "weights": "random"}}}).network
    network = Network(config, 10).eval()
    encoder = network.encoder
    image = torch.randint(0, 256, (1, 3, encoder.window, encoder.window), dtype=torch.uint8)
    rim = encoder.window // 2 - encoder.pitches[0]  # only the first window reaches into the rest
    with torch.inference_mode():
        start = time.perf_counter()
        maps = encoder(image, rim)
        seconds = time.perf_counter() - start
        want = Box(0, 0, 16, 16)
        crops = [
            Crop(level.repeat(1, 1, 3, 3)[:, :, : box.height, : box.width], [box.row], [box.col])
            for level, box in zip(maps, network.map_boxes(want), strict=True)
        ]
        latent = network.decode(crops, [want])
    assert latent.shape == (1, config.decoder.channels[0], 16, 16)
    assert bool(latent.isfinite().all())
    return {
        "parameters": sum(value.numel() for value in encoder.parameters()) / 1e6,
        "mpp": config.mpp,
        "pitch_um": config.pitch_um,
        "mean": [round(value, 6) for value in encoder.mean.flatten().tolist()],
        "std": [round(value, 6) for value in encoder.std.flatten().tolist()],
        "seconds": seconds,
    }


if __name__ == "__main__":
    answer({"one": one})
