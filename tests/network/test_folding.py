"""A folded decoder gives what the decoder gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pixnet.network.decoder import Standardise
from pixnet.network.folding import FoldedSAFB, folded
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
        network.decoder.skip = torch.nn.ModuleList()
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
    # The network that is trained is not touched, and the copy is folded.
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    levels = len(network.strides)
    assert scales(network) == levels
    # Where something else than SAFB reads the finer levels too, only the deepest one's is gone.
    assert scales(prepared) == (levels if kind == "row" else levels - 1 if "fusion" in KINDS[kind] else 0)
    assert norms(prepared) < norms(network)
    if kind == "channel":
        assert norms(prepared) == 0
        assert all(isinstance(fuse, FoldedSAFB) for fuse in prepared.decoder.fuse)


def test_what_is_folded_has_no_gradients(make_network: Callable[..., Network]) -> None:
    decoder = folded(make_network().decoder)
    changed = [decoder.fuse[0].from_refined.weight, decoder.deepest[0].weight]
    assert not any(parameter.requires_grad for parameter in changed)
