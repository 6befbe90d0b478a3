"""A folded decoder computes the same as the decoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pixnet.grid import Box
from pixnet.network import network as module
from pixnet.network.blocks import Standardise
from pixnet.network.crop import Crop
from pixnet.network.fast.folding import FoldedSAFB, folded
from pixnet.network.network import Network

Wavy = Callable[..., NDArray[np.uint8]]
KINDS = {
    "channel": {},
    "local": {"attention": "local"},
    "row": {"attention": "row"},
    "plain": {"fusion": "plain"},
    "residual": {"fusion": "residual"},
    "vit": {"fusion": "vit"},
}


def scales(network: Network) -> int:
    return sum(isinstance(module, Standardise) for module in network.decoder.scale)


def norms(network: Network) -> int:
    return sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.decoder.modules())


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_latent_map_stays_the_same(
    make_network: Callable[..., Network], wavy: Wavy, kind: str, skips: bool
) -> None:
    network = make_network(**KINDS[kind])
    if not skips:
        network.decoder.skip = None
    side = 2 * network.stride
    near, far = (
        torch.from_numpy(wavy(size, size)).permute(2, 0, 1)
        for size in (side + 2 * network.halo, side // network.zoom + 2 * network.far_halo)
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prepared = network.for_prediction("cpu")
    one, two = network.latent(near, far), prepared.latent(near, far)
    assert float(one.std()) > 1e-3 * float(one.abs().max())
    assert float((one - two).abs().max()) <= 2e-6 * float(one.abs().max())
    # The trained network is unchanged, and the copy is folded.
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    levels = len(network.strides)
    assert scales(network) == levels
    # Where a block other than SAFB reads the finer levels too, only the deepest one's is folded.
    assert scales(prepared) == (levels if kind == "row" else levels - 1 if "fusion" in KINDS[kind] else 0)
    assert norms(prepared) < norms(network)
    if kind == "channel":
        assert norms(prepared) == 0
        assert all(isinstance(fuse, FoldedSAFB) for fuse in prepared.decoder.fuse)


def test_what_is_folded_is_for_prediction_alone(make_network: Callable[..., Network]) -> None:
    decoder = make_network().decoder
    state = torch.random.get_rng_state()
    assert not any(parameter.requires_grad for parameter in folded(decoder).parameters())
    assert all(parameter.requires_grad for parameter in decoder.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("zoom", [1, 2, 4])
@pytest.mark.parametrize("side", [7, 13])
def test_parts_see_their_own_surroundings(
    make_network: Callable[..., Network], wavy: Wavy, monkeypatch: pytest.MonkeyPatch, zoom: int, side: int
) -> None:
    """The map is decoded part by part, whatever part: the same as from the pyramid of the whole."""
    network = make_network(zoom=zoom)
    network.linear.share.zero_()  # type: ignore[union-attr]  # `decode` is the decoder alone
    height, width = network.stride, 2 * network.stride
    near, far = (
        torch.from_numpy(wavy(*size)).permute(2, 0, 1)
        for size in (
            (height + 2 * network.halo, width + 2 * network.halo),
            (height // zoom + 2 * network.far_halo, width // zoom + 2 * network.far_halo),
        )
    )
    finest = network.strides[0]
    want = Box(*(size // finest for size in (network.halo, network.halo, height, width)))
    with torch.inference_mode():
        levels = network.pyramid(near[None], far[None])
        boxes = network.level_boxes(want)
        crops = [Crop(level, [0], [0]).cut([box]) for level, box in zip(levels, boxes, strict=True)]
        whole = network.decode(crops, [want])[0]
    monkeypatch.setattr(module, "_PART", side)
    for prepared in (network, network.for_prediction("cpu")):
        assert float((prepared.latent(near, far) - whole).abs().max()) <= 2e-6 * float(whole.abs().max())
