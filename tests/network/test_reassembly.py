from __future__ import annotations

import pytest
import torch

from pixnet.grid import Box
from pixnet.network.crop import Crop
from pixnet.network.reassembly import Reassembly, resampled, token_box


def ramp(box: Box, pitch: int) -> torch.Tensor:
    """Return tokens whose two channels are the row and the column of their centres, in image pixels."""
    rows = (torch.arange(box.row, box.row + box.height) + 0.5) * pitch
    cols = (torch.arange(box.col, box.col + box.width) + 0.5) * pitch
    return torch.stack(torch.meshgrid(rows, cols, indexing="ij"))[None]


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("pitch", [14, 16])
def test_pixels_lie_where_the_tokens_say_wherever_the_box_starts(pitch: int, stride: int) -> None:
    for row in range(-20, 20, 3):
        box = Box(row, row + 5, 9, 6)
        needed = token_box(box, pitch, stride)
        assert (needed.height, needed.width) == (-(-8 * stride // pitch) + 2, -(-5 * stride // pitch) + 2)
        tokens = Crop(ramp(needed, pitch), [needed.row], [needed.col])
        level = resampled(tokens, [box], pitch, stride)
        assert level.boxes == [box]
        assert torch.allclose(level.feature, ramp(box, stride), atol=1e-3)


def test_a_pixel_has_the_same_value_in_every_cut() -> None:
    tokens = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    whole = resampled(Crop(tokens, [-5], [-5]), [Box(0, 0, 96, 96)], 14, 4).feature
    for row, col in ((0, 0), (13, 40), (51, 7)):
        box = Box(row, col, 33, 20)
        needed = token_box(box, 14, 4)
        cut = Crop(tokens, [-5], [-5]).cut([needed])
        part = resampled(cut, [box], 14, 4).feature
        assert torch.equal(part, whole[:, :, row : row + 33, col : col + 20])


def test_each_level_is_projected_at_the_pitch_of_the_tokens_and_learns_their_scale() -> None:
    torch.manual_seed(0)
    module = Reassembly((14, 14), (4, 8), (20, 30), (8, 100))
    assert module.channels == (64, 100)
    wants = [[Box(3, 5, 12, 12), Box(40, 2, 12, 12)], [Box(1, 2, 6, 6), Box(20, 1, 6, 6)]]
    crops = []
    for boxes, count, stride in zip(wants, (20, 30), (4, 8), strict=True):
        needed = [token_box(box, 14, stride) for box in boxes]
        tokens = 100 + 7 * torch.randn(2, count, needed[0].height, needed[0].width)
        crops.append(Crop(tokens, [box.row for box in needed], [box.col for box in needed]))
    module.learn_scale([crops])
    assert float(module.scale[0].mean.mean()) == pytest.approx(100, abs=5)
    levels = module(crops, wants)
    assert [level.feature.shape for level in levels] == [(2, 64, 12, 12), (2, 100, 6, 6)]
    assert [level.boxes for level in levels] == wants
    plain = module.project[0](crops[0].feature)
    scaled = module.project[0](
        (crops[0].feature - module.scale[0].mean[:, None, None]) / module.scale[0].sd[:, None, None]
    )
    expected = resampled(crops[0]._replace(feature=scaled), wants[0], 14, 4).feature
    assert torch.allclose(levels[0].feature, expected, atol=1e-3)
    assert not torch.allclose(scaled, plain, atol=1)
