from __future__ import annotations

import pytest
import torch

from pixnet.network.config import EncoderConfig, NetworkConfig
from pixnet.network.encoders.make import make_encoder
from pixnet.network.fast.stripwise import Stripwise, stripwise
from pixnet.network.network import Network


def settled(name, **options):
    """Make an encoder whose batch normalisations are not the identity."""
    encoder = make_encoder(EncoderConfig(name=name, weights="random", **options))
    generator = torch.Generator().manual_seed(1)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
            module.running_var.mul_(0.5 + torch.rand(tensor.shape, generator=generator))
    return encoder


def image(height, width):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (1, 3, height, width), generator=generator, dtype=torch.uint8)


def blocks(encoder):
    return sum(isinstance(module, Stripwise) for module in encoder.modules())


# SAME padding and the symmetric one differ at a tile's edges; an odd number of rows leaves a shorter last strip.
@pytest.mark.parametrize("rows", [None, 1, 5])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "efficientnet_lite0"])
@pytest.mark.parametrize("size", [(64, 64), (96, 1024), (1024, 64)])
def test_strips_change_nothing(name, size, rows):
    encoder = settled(name)
    fast = stripwise(encoder)
    for module in fast.modules():
        if isinstance(module, Stripwise):
            module.rows_at_once = rows
    assert blocks(fast) >= 10
    assert not blocks(encoder)
    with torch.inference_mode():
        for one, two in zip(encoder(image(*size)), fast(image(*size)), strict=True):
            assert one.shape == two.shape
            assert float((one - two).abs().max()) <= 1e-5 * float(one.abs().max())


@pytest.mark.parametrize("size", [(64, 64), (96, 2048), (2048, 64)])
def test_the_first_block_begins_at_the_image(size):
    fast = stripwise(settled("tf_efficientnet_lite0"))
    begun = [module for module in fast.modules() if isinstance(module, Stripwise) and module.before]
    assert len(begun) == 1
    bytes_ = image(*size)
    assert fast.standardise(bytes_) is bytes_
    assert fast(bytes_)[0].dtype == torch.float32


def test_where_the_pixels_are_a_level_the_stem_stays():
    encoder = settled("tf_efficientnet_lite0", finest=1)
    fast = stripwise(encoder)
    assert blocks(fast) >= 10
    with torch.inference_mode():
        for one, two in zip(encoder(image(64, 64)), fast(image(64, 64)), strict=True):
            assert float((one - two).abs().max()) <= 1e-5 * float(one.abs().max())


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_other_encoders_stay_as_they_are(name):
    finest = 4 if "convnext" in name else 2
    encoder = settled(name, finest=finest)
    same = stripwise(encoder)
    assert not blocks(same)
    with torch.inference_mode():
        for one, two in zip(encoder(image(64, 64)), same(image(64, 64)), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_what_more_a_block_does_is_noticed():
    encoder = settled("tf_efficientnet_lite0")
    inner = next(module for module in encoder.modules() if type(module).__name__ == "InvertedResidual")
    inner.forward = lambda x, old=inner.forward: 2 * old(x)
    assert not blocks(stripwise(encoder))


class LessItsMean(torch.nn.Module):
    """Its output depends on the complete map, or on the rows of a strip where its input is a strip."""

    def forward(self, x):
        return x - x.mean(dim=(2, 3), keepdim=True)


def test_what_differs_only_between_strips_is_noticed():
    encoder = settled("tf_efficientnet_lite0")
    last = [module for module in encoder.modules() if type(module).__name__ == "InvertedResidual"][-1]
    last.bn2.act = LessItsMean()
    assert not blocks(stripwise(encoder))


def test_strips_are_tried_low_and_computed_high():
    fast = stripwise(settled("tf_efficientnet_lite0"))
    assert {module.rows_at_once for module in fast.modules() if isinstance(module, Stripwise)} == {None}


def test_a_stem_that_does_more_keeps_the_other_strips():
    encoder = settled("tf_efficientnet_lite0")
    norm = encoder.model.model.bn1
    norm.forward = lambda x, old=norm.forward: 2 * old(x)
    fast = stripwise(encoder)
    assert blocks(fast) == blocks(stripwise(settled("tf_efficientnet_lite0")))
    assert not any(module.before for module in fast.modules() if isinstance(module, Stripwise))
    with torch.inference_mode():
        for one, two in zip(encoder(image(96, 160)), fast(image(96, 160)), strict=True):
            assert float((one - two).abs().max()) <= 1e-5 * float(one.abs().max())


def test_parts_of_the_decoder_have_no_seams():
    encoder = EncoderConfig(weights="random")
    network = Network(NetworkConfig(encoder=encoder, surroundings_um=()), 3).eval()
    fast = network.for_prediction("cpu")
    core = 640  # image pixels: 320 latent pixels, more than are decoded at once
    tile = image(core + 2 * network.halo, core + 2 * network.halo)[0]
    whole, parts = network.latent(tile), fast.latent(tile)
    assert whole.shape[1:] == (320, 320)
    # One part around what would be the seam.
    shift = 448
    inner = tile[:, shift : shift + 128 + 2 * network.halo, shift : shift + 128 + 2 * network.halo]
    around = network.latent(inner)
    window = whole[:, shift // 2 : shift // 2 + 64, shift // 2 : shift // 2 + 64]
    largest = float(whole.abs().max())
    assert float((window - around).abs().max()) <= 1e-5 * largest
    assert float((whole - parts).abs().max()) <= 1e-5 * largest
