from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pixnet.errors import ModelError
from pixnet.grid import Box
from pixnet.network.blocks import DSUB, BilinearUp
from pixnet.network.config import DecoderConfig
from pixnet.network.crop import Crop
from pixnet.network.decoder import Decoder
from pixnet.network.network import Network


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_dsub_makes_four_channels_for_each_and_one_step_of_two() -> None:
    block = DSUB(6, 5)
    first = block[0]
    assert isinstance(first, torch.nn.Conv2d)
    assert first.out_channels == 4 * 5  # K = C * 2^d, d = 2
    assert block(random(2, 6, 4, 7)).shape == (2, 5, 8, 14)


def test_depth_to_space_puts_the_four_channels_under_their_pixel() -> None:
    block = DSUB(1, 2)
    first = block[0]
    assert isinstance(first, torch.nn.Conv2d)
    with torch.no_grad():
        first.weight.zero_()
        assert first.bias is not None
        first.bias.copy_(torch.arange(1.0, 9.0))
    with torch.no_grad():
        pixels = torch.nn.Sequential(*list(block)[:3])(torch.zeros(1, 1, 2, 2))
    assert torch.equal(pixels[0, 0, :2, :2], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert torch.equal(pixels[0, 1, 2:, 2:], torch.tensor([[5.0, 6.0], [7.0, 8.0]]))


def test_bilinear_step_doubles() -> None:
    assert BilinearUp(6, 5)(random(2, 6, 4, 7)).shape == (2, 5, 8, 14)


@pytest.mark.parametrize(("steps", "kinds"), [(0, "BB"), (1, "DB"), (2, "DD")])
def test_the_deepest_steps_use_depth_to_space(steps: int, kinds: str) -> None:
    decoder = Decoder((4, 5, 6), DecoderConfig(channels=(3, 4, 5), dsub_steps=steps))
    assert "".join("D" if isinstance(up, DSUB) else "B" for up in decoder.up) == kinds


def test_widths_must_be_as_many_as_levels() -> None:
    with pytest.raises(ModelError, match="channels has 2 widths, but the encoder has 3 levels"):
        Decoder((4, 5, 6), DecoderConfig(channels=(3, 4)))


@pytest.mark.parametrize("dsub", [0, 1, 5])
@pytest.mark.parametrize("fusion", ["channel", "local", "plain", "residual", "vit"])
def test_a_crop_at_any_pixel_is_decoded_as_the_complete_map_is(
    make_network: Callable[..., Network], fusion: str, dsub: int
) -> None:
    kinds = {"attention": fusion} if fusion in ("channel", "local") else {"fusion": fusion}
    network = make_network(**kinds, dsub=dsub, settled=False)
    levels = [
        random(1, c, 1536 // s, 1536 // s, seed=s) for c, s in zip(network.channels, network.strides, strict=True)
    ]

    def decode(*wants: Box) -> torch.Tensor:
        per_tile = [network.level_boxes(want) for want in wants]
        crops = []
        for number, level in enumerate(levels):
            boxes = [boxes[number] for boxes in per_tile]
            cut = [level[0, :, b.row : b.row + b.height, b.col : b.col + b.width] for b in boxes]
            crops.append(Crop(torch.stack(cut), [b.row for b in boxes], [b.col for b in boxes]))
        with torch.inference_mode():
            return network.decode(crops, wants)

    top = left = 340
    whole = decode(Box(top, left, 72, 72))[0]
    # Odd and even starts, odd and even sides; two tiles of a batch start on different phases.
    for sides, starts in [((20, 20), ((341, 347), (360, 340))), ((31, 17), ((353, 365), (344, 352)))]:
        wants = [Box(row, col, *sides) for row, col in starts]
        for want, part in zip(wants, decode(*wants), strict=True):
            row, col = want.row - top, want.col - left
            expected = whole[:, row : row + want.height, col : col + want.width]
            assert (part - expected).abs().max() <= 1e-5 * whole.abs().max(), want


def test_a_decoders_boxes_are_no_wider_than_the_halo(make_network: Callable[..., Network]) -> None:
    network = make_network()
    period = network.stride // network.strides[0]
    for side in (period, 2 * period, 5 * period):
        for box, stride in zip(network.level_boxes(Box(0, 0, side, side)), network.strides, strict=True):
            assert -box.row * stride <= network.halo
            assert (box.row + box.height) * stride <= side * network.strides[0] + network.halo


def test_dropout_drops_whole_encoder_channels_while_training_only() -> None:
    config = DecoderConfig(channels=(3, 4), dropout=0.5)
    decoder = Decoder((4, 5), config)
    crops = [Crop(random(2, 4, 16, 16), [0, 0], [0, 0]), Crop(random(2, 5, 8, 8), [0, 0], [0, 0])]
    want = [Box(2, 2, 8, 8)] * 2
    assert torch.equal(decoder.eval()(crops, want)[0], decoder(crops, want)[0])
    decoder.train()
    torch.manual_seed(0)
    first, density = decoder(crops, want)
    assert density is None
    assert not torch.equal(first, decoder(crops, want)[0])
    torch.manual_seed(0)
    assert torch.equal(first, decoder(crops, want)[0])


def test_the_scale_is_learned_of_programs_tile_by_tile_and_of_the_density_pixel_by_pixel() -> None:
    decoder = Decoder((4, 5), DecoderConfig(channels=(3, 4), dropout=0.5), with_density=True)
    batches = [
        [Crop(random(2, 4, 16, 16, seed=n), [0, 0], [0, 0]), Crop(random(2, 5, 8, 8, seed=n + 9), [0, 0], [0, 0])]
        for n in range(3)
    ]
    wants = [[Box(4, 4, 8, 8)] * 2] * 3
    decoder.learn_scale(batches, wants)
    decoder.scale.eval()
    with torch.no_grad():
        decoded, density = map(torch.cat, zip(*map(decoder, batches, wants), strict=True))
    assert decoded.shape == (6, 3, 8, 8)
    assert density.shape == (6, 1, 8, 8)
    tiles, pixels = decoded.mean(dim=(2, 3)), density.flatten()
    assert torch.allclose(tiles.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(tiles.std(0), torch.ones(3), atol=1e-4)
    assert float(pixels.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(pixels.std()) == pytest.approx(1.0, abs=1e-4)


def test_only_counts_have_a_density(make_network: Callable[..., Network]) -> None:
    config = make_network().config
    kinds = {
        head: Network(config.model_copy(update={"head": head}), 3).decoder.density for head in ("rate", "mean", "sum")
    }
    assert kinds["rate"] is not None
    assert len(kinds["rate"].fine.levels) == 3
    assert kinds["mean"] is kinds["sum"] is None


@pytest.mark.parametrize(("levels", "read"), [(1, 1), (2, 1), (3, 2), (4, 3), (6, 3)])
def test_the_density_reads_fine_levels_and_never_the_one_with_the_surroundings(levels: int, read: int) -> None:
    decoder = Decoder((4,) * levels, DecoderConfig(channels=(3,) * levels), with_density=True)
    assert decoder.density is not None
    assert len(decoder.density.fine.levels) == read


def test_nothing_is_dropped_of_what_the_density_reads_at_the_finest_level() -> None:
    decoder = Decoder((4, 5), DecoderConfig(channels=(3, 4), dropout=0.9), with_density=True)
    crops = [Crop(random(2, 4, 16, 16), [0, 0], [0, 0]), Crop(random(2, 5, 8, 8), [0, 0], [0, 0])]
    density = decoder.train().density
    assert density is not None
    torch.nn.init.zeros_(density.context.levels[0][2].weight)  # D_1, of which much is dropped, is not used
    (first, one), (second, other) = (decoder(crops, [Box(2, 2, 8, 8)] * 2) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(one, other)


def test_the_density_teaches_nothing_that_it_reads() -> None:
    decoder = Decoder((4, 5), DecoderConfig(channels=(3, 4)), with_density=True)
    features = [random(2, 4, 16, 16).requires_grad_(), random(2, 5, 8, 8).requires_grad_()]
    crops = [Crop(feature, [0, 0], [0, 0]) for feature in features]
    decoder.train()(crops, [Box(2, 2, 8, 8)] * 2)[1].square().sum().backward()
    taught = {name for name, parameter in decoder.named_parameters() if parameter.grad is not None}
    assert taught == {name for name, _ in decoder.named_parameters() if name.startswith("density.")}
    assert all(feature.grad is None for feature in features)
