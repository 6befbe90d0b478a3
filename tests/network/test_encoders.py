from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pixnet.errors import ModelError
from pixnet.network.config import PRESETS, EncoderConfig
from pixnet.network.encoders.base import Encoder
from pixnet.network.encoders.make import make_encoder
from pixnet.network.encoders.receptive import receptive_radius
from pixnet.network.encoders.transformer import TransformerEncoder
from pixnet.network.encoders.weights import lite0_state, weights_hash
from pixnet.network.network import Network


def bytes_image(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "weights", "options", "channels"),
    [
        ("tf_efficientnet_lite0", "pretrained", {}, (16, 24, 40, 112)),
        ("tf_efficientnet_lite0", "random", {"stride": 32}, (16, 24, 40, 112, 320)),
        ("tf_efficientnet_lite0", "random", {"finest": 1, "stride": 8}, (3, 16, 24, 40)),
        ("resnet18", "random", {"stride": 32}, (64, 64, 128, 256, 512)),
        ("convnext_atto", "random", {"finest": 4}, (40, 80, 160)),
    ],
)
def test_convolutional_pyramids(name: str, weights: str, options: dict[str, Any], channels: tuple[int, ...]) -> None:
    config = EncoderConfig(name=name, weights=weights, **options)
    encoder = make_encoder(config)
    assert encoder.pitches == config.strides
    assert encoder.channels == channels
    with torch.inference_mode():
        levels = encoder(bytes_image(2, 3, 64, 128))
    for level, stride, width in zip(levels, config.strides, channels, strict=True):
        assert level.shape == (2, width, 64 // stride, 128 // stride)
        assert level.isfinite().all()
        assert level.std() > 0


def test_strides_that_an_encoder_lacks_are_named() -> None:
    with pytest.raises(ModelError, match=r"'convnext_atto' has stages at strides \[4, 8, 16, 32\], none at 2"):
        make_encoder(EncoderConfig(name="convnext_atto", weights="random"))


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "convnext_atto"])
def test_each_byte_is_brought_to_the_range_that_the_encoder_knows(name: str) -> None:
    encoder = make_encoder(EncoderConfig(name=name, weights="random", finest=4))
    for value in (0, 128, 255):
        standard = encoder.standardise(torch.full((1, 3, 2, 2), value, dtype=torch.uint8))
        expected = (value / 255 - encoder.mean) / encoder.std
        assert torch.allclose(standard, expected.expand_as(standard))
    assert encoder.mean.min() > 0.4
    assert encoder.std.min() > 0.2


@pytest.mark.parametrize("name", ["seresnet18", "efficientnet_b0", "convnextv2_atto", "test_byobnet"])
def test_encoders_that_average_over_the_whole_tile_are_refused(name: str) -> None:
    encoder = make_encoder(EncoderConfig(name=name, weights="random", finest=4, stride=16))
    with pytest.raises(ModelError, match="averages over the whole tile"):
        receptive_radius(encoder)


@pytest.mark.parametrize("name", ["ese_vovnet19b_dw", "mobilevit_xxs"])
def test_less_usual_ways_of_seeing_the_whole_tile_are_refused_too(name: str) -> None:
    with pytest.raises(ModelError):
        receptive_radius(make_encoder(EncoderConfig(name=name, weights="random", finest=4, stride=16)))


def test_stored_statistics_are_used_and_kept_while_training(make_network: Callable[..., Network]) -> None:
    network = make_network(trainable=True).train()
    assert network.decoder.training
    assert not any(module.training for module in network.encoder.modules())
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    one, two = bytes_image(2, 3, 64, 64), bytes_image(2, 3, 64, 64)
    two[1] = 0
    first, second = (network.encoder(image) for image in (one, two))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in network.encoder.state_dict().items())


def test_making_a_network_leaves_the_weights_alone() -> None:
    state = lite0_state()
    encoder = Network(PRESETS["small"].model_copy(update={"surroundings_um": (300.0, 600.0, 1200.0)}), 5).encoder
    assert not encoder.training
    assert weights_hash(encoder) == weights_hash(make_encoder(PRESETS["small"].encoder))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, state[name.removeprefix("model.").removeprefix("model.")]), name


@pytest.mark.parametrize("trainable", [False, True])
def test_gradients_reach_the_encoder_only_if_it_is_trainable(
    make_network: Callable[..., Network], trainable: bool
) -> None:
    network = make_network(trainable=trainable).train()
    total = torch.stack(
        [level.square().mean() for level in network.pyramid(bytes_image(1, 3, 64, 64), bytes_image(1, 3, 64, 64))]
    ).sum()
    assert total.requires_grad == trainable
    if trainable:
        total.backward()
        gradients = [p.grad for p in network.encoder.parameters() if p.grad is not None]
        assert len(gradients) > 10
        assert all(g.isfinite().all() for g in gradients)
        assert sum(float(g.abs().sum()) for g in gradients) > 0
    else:
        assert not any(p.requires_grad for p in network.encoder.parameters())
    assert all(p.requires_grad for p in (*network.decoder.parameters(), *network.head.parameters()))


@pytest.fixture(scope="module")
def vit() -> Encoder:
    torch.manual_seed(0)
    return make_encoder(EncoderConfig(name="vit_tiny_patch16_224", weights="random")).eval()


def test_a_plain_vit_keeps_its_tokens_at_the_pitch_of_its_patches(vit: Encoder) -> None:
    assert isinstance(vit, TransformerEncoder)
    assert (vit.window, vit.patch, vit.overlap, vit.step, vit.channels) == (224, 16, 4, 160, (192,) * 4)
    assert vit.blocks == (2, 5, 8, 11)
    assert vit.pitches == (16,) * 4
    with torch.inference_mode():
        levels = vit(bytes_image(2, 3, 320, 480))
    assert [level.shape for level in levels] == [(2, 192, 20, 30)] * 4
    assert all(level.isfinite().all() and level.std() > 0 for level in levels)


def test_blending_weights_add_up_to_one(vit: Encoder) -> None:
    assert isinstance(vit, TransformerEncoder)
    expected = torch.arange(1.0, 4.0).view(1, 3, 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "channels", (3,))
        patch.setattr(vit, "_encoded", lambda windows: [expected.expand(len(windows), 3, 14, 14)])
        (blended,) = vit(bytes_image(2, 3, 320, 480))
    assert blended.shape == (2, 3, 20, 30)
    assert torch.allclose(blended, expected.expand_as(blended), rtol=1e-5)


def test_windows_that_reach_only_the_rim_are_not_computed(vit: Encoder) -> None:
    assert isinstance(vit, TransformerEncoder)
    image, seen = bytes_image(1, 3, 960, 960), []
    encoded = vit._encoded
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "_encoded", lambda windows: seen.append(len(windows)) or encoded(windows))
        whole, inner = vit(image), vit(image, 320)
    assert (sum(seen[:7]), sum(seen[7:])) == (7**2, 3**2)
    for level, part in zip(whole, inner, strict=True):
        assert torch.equal(level[..., 20:40, 20:40], part[..., 20:40, 20:40])


@pytest.mark.parametrize("row", [0, 16, 80, 272])
def test_a_feature_depends_on_its_place_on_the_slide_alone(vit: Encoder, row: int) -> None:
    slide = bytes_image(1, 3, 1600, 640)
    with torch.inference_mode():
        whole, part = vit(slide), vit(slide[:, :, row : row + 960], 224, (row, 0))
    for level, cut in zip(whole, part, strict=True):
        first, last = row // 16 + 14, row // 16 + 60 - 14
        assert torch.equal(level[..., first:last, 14:-14], cut[..., 14:-14, 14:-14])


def test_a_vits_tokens_are_where_the_image_has_them() -> None:
    """A bright square far from a point must not move that point's features more than one beside it does."""
    torch.manual_seed(0)
    encoder = make_encoder(EncoderConfig(name="test_vit", weights="random", finest=8)).eval()
    assert isinstance(encoder, TransformerEncoder)
    plain = bytes_image(1, 3, 320, 320)
    marked = plain.clone()
    marked[:, :, 160:176, 64:80] = 255
    with torch.inference_mode():
        change = (encoder(marked)[0] - encoder(plain)[0]).abs().sum(1)[0]
    row, col = np.unravel_index(int(change.argmax()), change.shape)
    assert (row, col) == (160 // 16, 64 // 16)


@pytest.mark.parametrize("blocks", [(0, 1), (0, 1, 2, 99)])
def test_blocks_that_a_vit_lacks_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="the pyramid has 4 levels and encoder 'test_vit' has blocks 0 to 5"):
        make_encoder(EncoderConfig(name="test_vit", weights="random", blocks=blocks))


@pytest.mark.parametrize("blocks", [(5, 3, 1, 0), (0, 1, 1, 2), (-1, 0, 1, 2)])
def test_blocks_out_of_order_twice_or_negative_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ModelError):
        make_encoder(EncoderConfig(name="test_vit", weights="random", blocks=blocks))
