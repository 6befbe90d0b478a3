from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage

from pixnet.network.network import Network
from pixnet.network.surroundings import Surroundings


@pytest.mark.parametrize(
    ("widths_um", "pixel_um", "pixels"),
    [((150.0, 300.0, 600.0), 16.0, (9, 19, 37)), ((10.0,), 16.0, (1,)), ((64.0,), 16.0, (5,)), ((), 16.0, ())],
)
def test_widths_are_odd_numbers_of_pixels(
    widths_um: tuple[float, ...], pixel_um: float, pixels: tuple[int, ...]
) -> None:
    surroundings = Surroundings(widths_um, pixel_um, 1)
    assert surroundings.widths == pixels
    assert surroundings.radius == max(pixels, default=1) // 2
    assert surroundings.reach(5) == surroundings.radius + 5


@pytest.mark.parametrize("zoom", [2, 4, 8])
@pytest.mark.parametrize("margin", range(1, 12))
def test_the_reach_is_what_interpolation_takes(zoom: int, margin: int) -> None:
    surroundings = Surroundings((16.0,), 16.0, zoom)
    side, reach = 3, surroundings.reach(margin)
    means = torch.randn(1, 1, side + 30, side + 30, generator=torch.Generator().manual_seed(0))
    other = torch.full_like(means, 99.0)
    held = slice(15 - reach, 15 + side + reach)
    other[:, :, held, held] = means[:, :, held, held]
    all_ = slice(10 * zoom, (20 + side) * zoom)
    near = slice(5 * zoom - margin, (5 + side) * zoom + margin)
    one, two = (surroundings.finer(m, all_, all_)[:, :, near, near] for m in (means, other))
    assert torch.equal(one, two)
    if reach:
        held = slice(15 - reach + 1, 15 + side + reach - 1)
        less = torch.full_like(means, 99.0)
        less[:, :, held, held] = means[:, :, held, held]
        assert not torch.equal(one, surroundings.finer(less, all_, all_)[:, :, near, near])


def test_means_are_those_of_the_squares() -> None:
    surroundings = Surroundings((48.0, 112.0), 16.0, 1)
    gathered = torch.randn(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    means = surroundings.means(gathered).numpy()
    assert means.shape == (2, 6, 20, 24)
    for number, width in enumerate((3, 7)):
        # Beyond the edge there is nothing: the mean is over what is there.
        window = (1, 1, width, width)
        total = ndimage.uniform_filter(gathered.numpy().astype(np.float64), window, mode="constant")
        there = ndimage.uniform_filter(np.ones((1, 1, 20, 24)), window, mode="constant")
        assert np.allclose(means[:, 3 * number : 3 * number + 3], total / there, atol=1e-5)


def test_every_level_is_averaged_over_the_deepest_pixels() -> None:
    levels = [torch.arange(64.0).view(1, 1, 8, 8), torch.arange(16.0).view(1, 1, 4, 4), torch.ones(1, 2, 2, 2)]
    gathered = Surroundings.gather(levels)
    assert gathered.shape == (1, 4, 2, 2)
    assert gathered[0, 0].tolist() == [[13.5, 17.5], [45.5, 49.5]]
    assert gathered[0, 1].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert (gathered[0, 2:] == 1).all()


def test_between_the_centres_of_pixels_means_are_interpolated() -> None:
    surroundings = Surroundings((64.0,), 64.0, 4)
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    plane = (2.0 * y + 3.0 * x)[None, None]
    finer = surroundings.finer(plane, slice(0, 20), slice(0, 24))[0, 0]
    assert finer.shape == (20, 24)
    # A plane stays a plane: the centre of fine pixel i is at (i + 1/2) / 4 - 1/2 coarse pixels.
    fine = (torch.arange(24.0) + 0.5) / 4.0 - 0.5
    expected = 2.0 * fine[:20, None] + 3.0 * fine[None, :]
    assert torch.allclose(finer[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-5)
    # A part is what it is in the whole.
    for rows, cols in ((slice(0, 8), slice(13, 24)), (slice(5, 6), slice(7, 10)), (slice(19, 20), slice(0, 24))):
        part = surroundings.finer(plane, rows, cols)[0, 0]
        assert torch.allclose(part, finer[rows, cols], atol=1e-5)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_the_far_image_shows_the_same_places(make_network: Callable[..., Network], place: int) -> None:
    """A far image that is bright to the right of a pixel brightens the near one to the right of the same place."""
    network = make_network(around=(32.0,), zoom=4)
    core, pixel = 4 * network.stride, network.strides[-1]
    near = torch.full((1, 3, core + 2 * network.halo, core + 2 * network.halo), 128, dtype=torch.uint8)
    far = torch.zeros((1, 3, *(core // 4 + 2 * network.far_halo,) * 2), dtype=torch.uint8)
    flat = far.clone()
    far[:, :, :, network.far_halo + place * 16 :] = 255
    with torch.inference_mode():
        seen, dark, bright = (
            network.pyramid(near, image)[-1][0, network.encoder.channels[-1] :].mean(dim=1)
            for image in (far, flat, 255 - flat)
        )
    # How far each column is on the way from all dark to all bright.
    way = ((seen - dark) * (bright - dark)).sum(dim=0) / (bright - dark).square().sum(dim=0)
    edge = (network.halo + place * 64) // pixel
    crossing = int((way > 0.5).float().argmax())
    assert way[0] < 0.2
    assert way[-1] > 0.8
    assert abs(crossing - edge) <= 2
