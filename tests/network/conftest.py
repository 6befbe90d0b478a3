"""Small networks that the tests of the network share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pixnet.grid import Box, round_up
from pixnet.network.config import DecoderConfig, EncoderConfig, NetworkConfig
from pixnet.network.crop import Crop
from pixnet.network.network import Network

MakeNetwork = Callable[..., Network]
TINY = "test_resnet"  # timm's smallest network with stages at strides 2 to 32


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return waves of several lengths with dots and noise, so that every scale has structure."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([110 + 60 * np.sin(x / a + y / b) for a, b in ((7, 11), (41, 23), (151, 97))], axis=-1)
    waves[rng.random((height, width)) < 0.01] = 20
    return np.clip(waves + rng.normal(0, 25, waves.shape), 0, 255).astype(np.uint8)


def tile_sides(network: Network, core: int) -> tuple[int, int]:
    """Return the sides of the near and the far image of a core."""
    return core + 2 * network.halo, core // network.zoom + 2 * network.far_halo


def awaken(encoder: torch.nn.Module) -> None:
    """Give the residual branches weight, which timm starts at or near zero: otherwise hardly a layer is tested."""
    for name, value in encoder.named_parameters():
        if name.endswith("gamma") or (value.dim() == 1 and name.endswith("weight") and not value.any()):
            torch.nn.init.ones_(value)


def settle(network: Network) -> Network:
    """Set the decoder's statistics of its input, as training would; otherwise activations vanish or explode."""
    margin, finest = network.halo, network.strides[0]
    core = round_up(256, network.stride)
    near, far = (torch.from_numpy(picture(side, side, seed=9)).permute(2, 0, 1) for side in tile_sides(network, core))
    with torch.no_grad():
        levels = network.pyramid(near[None], far[None])
        side, rng = 64 // finest, np.random.default_rng(0)
        places = margin // finest + rng.integers(0, core // finest - side, (8, 2), endpoint=True)
        wants = [Box(int(row), int(col), side, side) for row, col in places]
        boxes = [network.map_boxes(want) for want in wants]
        crops = [
            Crop(
                torch.cat([level[:, :, b.row : b.row + b.height, b.col : b.col + b.width] for b in level_boxes]),
                [b.row for b in level_boxes],
                [b.col for b in level_boxes],
            )
            for level, level_boxes in zip(levels, zip(*boxes, strict=True), strict=True)
        ]
        network.learn_scale([crops], [wants])
        for module in network.decoder.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the plain mean over batches
        network.train()
        network.decode(crops, wants)
        if network.linear:
            weight, generator = network.linear.weight, torch.Generator().manual_seed(0)
            size = max(float(level.abs().mean()) for level in levels)
            of_features = torch.randn(weight.shape, generator=generator) / (size * weight.shape[1] ** 0.5)
            network.linear.solve(of_features, torch.ones(len(weight)), 0.5)
    return network.eval()


@pytest.fixture(scope="session")
def make_network() -> MakeNetwork:
    """Make a settled network of random weights; narrow, whatever the presets say."""

    def make(
        name: str = TINY,
        *,
        weights: str = "random",
        stride: int = 16,
        finest: int = 2,
        around: tuple[float, ...] = (48.0, 112.0),
        zoom: int = 2,
        attention: str = "channel",
        fusion: str = "safb",
        dsub: int = 2,
        head: str = "rate",
        outputs: int = 5,
        width: int = 8,
        settled: bool = True,
        **encoder: Any,
    ) -> Network:
        torch.manual_seed(0)
        chosen = EncoderConfig(name=name, weights=weights, stride=stride, finest=finest, **encoder)  # type: ignore[arg-type]
        channels = (width,) * len(chosen.strides)
        decoder = DecoderConfig(channels=channels, dsub_steps=dsub, fusion=fusion, attention=attention)  # type: ignore[arg-type]
        config = NetworkConfig(
            encoder=chosen, decoder=decoder, surroundings_um=around, surroundings_zoom=zoom, head=head
        )  # type: ignore[arg-type]
        network = Network(config, outputs)
        if weights == "random":
            awaken(network.encoder)
        return settle(network) if settled else network.eval()

    return make


@pytest.fixture(scope="session", name="settle")
def settle_fixture() -> Callable[[Network], Network]:
    """Settle a network that was made otherwise."""
    return settle


@pytest.fixture(scope="session", name="awaken")
def awaken_fixture() -> Callable[[torch.nn.Module], None]:
    """Make every layer of a random encoder count."""
    return awaken


@pytest.fixture(scope="session", name="tile_sides")
def tile_sides_fixture() -> Callable[[Network, int], tuple[int, int]]:
    """Return the function that gives the sides of a core's images."""
    return tile_sides


@pytest.fixture(scope="session")
def wavy() -> Callable[..., NDArray[np.uint8]]:
    """Make a picture, (height, width, 3) bytes."""
    return picture
