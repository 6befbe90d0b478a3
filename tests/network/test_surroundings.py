from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage

from pixnet.network.network import Network
from pixnet.network.surroundings import Surroundings


@pytest.mark.parametrize(
    ("widths_um", "cell_um", "cells"),
    [((150.0, 300.0, 600.0), 16.0, (9, 19, 37)), ((10.0,), 16.0, (1,)), ((64.0,), 16.0, (5,)), ((), 16.0, ())],
)
def test_widths_are_odd_numbers_of_cells(widths_um: tuple[float, ...], cell_um: float, cells: tuple[int, ...]) -> None:
    surroundings = Surroundings(widths_um, cell_um, 1)
    assert surroundings.widths == cells
    assert surroundings.radius == max(cells, default=1) // 2
    assert Surroundings(widths_um, cell_um, 4).radius == surroundings.radius + 1


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


def test_every_level_is_averaged_over_the_deepest_cells() -> None:
    levels = [torch.arange(64.0).view(1, 1, 8, 8), torch.arange(16.0).view(1, 1, 4, 4), torch.ones(1, 2, 2, 2)]
    gathered = Surroundings.gather(levels)
    assert gathered.shape == (1, 4, 2, 2)
    assert gathered[0, 0].tolist() == [[13.5, 17.5], [45.5, 49.5]]
    assert gathered[0, 1].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert (gathered[0, 2:] == 1).all()


def test_between_the_centres_of_cells_means_are_interpolated() -> None:
    surroundings = Surroundings((64.0,), 64.0, 4)
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    finer = surroundings.finer((2.0 * y + 3.0 * x)[None, None])[0, 0]
    assert finer.shape == (20, 24)
    # A plane stays one: the centre of fine cell i lies at (i + 1/2) / 4 - 1/2 coarse cells.
    fine = (torch.arange(24.0) + 0.5) / 4.0 - 0.5
    expected = 2.0 * fine[:20, None] + 3.0 * fine[None, :]
    assert torch.allclose(finer[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-5)


def test_the_far_image_shows_the_same_places(make_network: Callable[..., Network]) -> None:
    """A far image that is bright on one side tells so on that side of the near one."""
    network = make_network(around=(32.0,), zoom=4)
    core = 4 * network.stride
    near = torch.full((1, 3, core + 2 * network.halo, core + 2 * network.halo), 128, dtype=torch.uint8)
    far = torch.zeros((1, 3, *(core // 4 + 2 * network.far_halo,) * 2), dtype=torch.uint8)
    far[:, :, :, far.shape[-1] // 2 :] = 255
    with torch.inference_mode():
        around = network.pyramid(near, far)[-1][0, network.encoder.channels[-1] :]
    columns = around.mean(dim=1)
    middle = columns.shape[-1] // 2
    step = (columns[:, 1:] - columns[:, :-1]).abs().sum(dim=0)
    assert abs(int(step.argmax()) + 1 - middle) <= 4  # within one coarse cell of where it is
    mirrored = columns.flip(1)
    assert not torch.allclose(columns, mirrored, atol=1e-3)
