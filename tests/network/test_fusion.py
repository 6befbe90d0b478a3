"""Fusion: SAFB against the paper's equations written out pixel by pixel, and what it is compared with."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pixnet.network.config import DecoderConfig
from pixnet.network.fusion import SAFB, ChannelNorm, TransformerFusion, fusion_reach, make_fusion


def reference(block: SAFB, feature: Tensor, upsampled: Tensor) -> Tensor:
    """Compute D = U + softmax(Q K / beta) V, one pixel after the other."""

    def pointwise(x: Tensor, layer: torch.nn.Conv2d) -> Tensor:
        assert layer.bias is not None
        return torch.einsum("oc,nchw->nohw", layer.weight[:, :, 0, 0], x) + layer.bias.view(1, -1, 1, 1)

    padded, local = F.pad(feature, (1, 1, 1, 1)), torch.zeros_like(feature)
    height, width = feature.shape[2:]
    assert block.depthwise.bias is not None
    for row in range(3):
        for col in range(3):
            weight = block.depthwise.weight[:, 0, row, col].view(1, -1, 1, 1)
            local += weight * padded[:, :, row : row + height, col : col + width]
    local = local + block.depthwise.bias.view(1, -1, 1, 1)

    mixed = pointwise(local * torch.sigmoid(local), block.mix)
    mean, variance = mixed.mean(1, keepdim=True), mixed.var(1, keepdim=True, unbiased=False)
    mixed = (mixed - mean) / torch.sqrt(variance + block.mix_norm.eps)
    mixed = mixed * block.mix_norm.weight.view(1, -1, 1, 1) + block.mix_norm.bias.view(1, -1, 1, 1)
    joined = local + mixed
    joined = joined * torch.sigmoid(joined)
    norm = block.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    refined = (joined - norm.running_mean.view(1, -1, 1, 1)) / torch.sqrt(norm.running_var.view(1, -1, 1, 1) + norm.eps)
    refined = refined * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)

    q, k, v = pointwise(pointwise(torch.cat([refined, upsampled], 1), block.latent), block.qkv).chunk(3, 1)
    beta, out = math.sqrt(upsampled.shape[1]), upsampled.clone()
    for n in range(len(out)):
        for y in range(height):
            for x in range(width):
                query = q[n, :, y, x]
                if block.attention == "channel":
                    out[n, :, y, x] += torch.softmax(query * k[n, :, y, x] / beta, 0) * v[n, :, y, x]
                    continue
                if block.attention == "row":
                    keys, values = k[n, :, y], v[n, :, y]
                else:
                    # Beyond the map there are zeros, as for the convolutions; the halo keeps them out of a core.
                    keys, values = (F.pad(t[n], (1, 1, 1, 1))[:, y : y + 3, x : x + 3].flatten(1) for t in (k, v))
                out[n, :, y, x] += values @ torch.softmax(query @ keys / beta, 0)
    return out


@pytest.mark.parametrize("attention", ["channel", "local", "row"])
def test_the_block_computes_the_papers_equations(attention: str) -> None:
    torch.manual_seed(0)
    block = SAFB(5, 4, attention).double()  # type: ignore[arg-type]
    for value in block.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    block.eval()
    feature, upsampled = torch.randn(2, 5, 5, 6).double(), torch.randn(2, 4, 5, 6).double()
    with torch.no_grad():
        found, expected = block(feature, upsampled), reference(block, feature, upsampled)
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(found, upsampled, atol=1e-2)


def test_the_normalisation_is_each_pixels_own() -> None:
    norm = ChannelNorm(6)
    image = torch.randn(1, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    other[:, :, 0, 0] = 100.0
    changed = (norm(image) != norm(other)).any(1)[0]
    assert changed.sum() <= 1
    assert torch.allclose(norm(image).mean(1), torch.zeros(1, 4, 4), atol=1e-6)


@pytest.mark.parametrize(("attention", "reach"), [("channel", 1), ("local", 2), ("row", 99)])
def test_how_far_each_attention_reaches(attention: str, reach: int) -> None:
    torch.manual_seed(0)
    block = SAFB(4, 4, attention).eval()  # type: ignore[arg-type]
    feature, upsampled = torch.randn(1, 4, 9, 9), torch.randn(1, 4, 9, 9)
    marked = feature.clone()
    marked[:, :, 4, 4] += 3.0
    with torch.no_grad():
        changed = (block(feature, upsampled) - block(marked, upsampled)).abs().sum(1)[0] > 0
    rows, cols = torch.nonzero(changed, as_tuple=True)
    assert int((cols - 4).abs().max()) == min(reach, 4)
    assert int((rows - 4).abs().max()) == (1 if attention == "row" else reach)


def test_safb_is_the_fusion_by_default() -> None:
    assert isinstance(make_fusion(5, 4, DecoderConfig()), SAFB)


@pytest.mark.parametrize(
    "config",
    [
        {"fusion": "safb", "attention": "channel"},
        {"fusion": "safb", "attention": "local"},
        {"fusion": "plain"},
        {"fusion": "residual"},
        {"fusion": "vit"},
    ],
)
def test_a_fusion_reaches_as_far_as_stated_and_no_further(config: dict[str, str]) -> None:
    settings = DecoderConfig(**config)  # type: ignore[arg-type]
    torch.manual_seed(0)
    block = make_fusion(6, 4, settings).eval()
    for value in block.parameters():
        torch.nn.init.normal_(value, std=0.5)
    inputs = torch.randn(2, 6, 13, 13), torch.randn(2, 4, 13, 13)
    for which, reach in enumerate(fusion_reach(settings)):
        marked = list(inputs)
        marked[which] = marked[which].clone()
        marked[which][:, :, 6, 6] += 3.0
        with torch.no_grad():
            changed = (block(*inputs) - block(*marked)).abs().sum((0, 1)) > 0
        rows, cols = torch.nonzero(changed, as_tuple=True)
        assert int(torch.maximum((rows - 6).abs(), (cols - 6).abs()).max()) == reach


def test_the_transformer_attends_to_the_neighbours_of_each_pixel() -> None:
    torch.manual_seed(0)
    block = TransformerFusion(6, 32).double().eval()
    assert block.heads == 2
    torch.nn.init.normal_(block.place)
    x = torch.randn(1, 32, 6, 7).double()
    with torch.no_grad():
        found = block._attend(x)
        q, k, v = block.qkv(x).chunk(3, 1)
        k, v = (F.pad(part, (2, 2, 2, 2)) for part in (k, v))
        for row, col in ((0, 0), (3, 4), (5, 6)):
            for head in range(2):
                part = slice(16 * head, 16 * head + 16)
                keys = k[0, part, row : row + 5, col : col + 5].flatten(1)
                values = v[0, part, row : row + 5, col : col + 5].flatten(1)
                weight = torch.softmax(q[0, part, row, col] @ keys / 4.0 + block.place[head], 0)
                assert torch.allclose(found[0, part, row, col], values @ weight, atol=1e-9)


def test_heads_divide_the_channels() -> None:
    assert [TransformerFusion(3, channels).heads for channels in (3, 8, 48, 50)] == [1, 1, 3, 2]
