from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from pixnet.network.surroundings import Surroundings


@pytest.mark.parametrize(
    ("widths_um", "cell_um", "cells"),
    [((150.0, 300.0, 600.0), 16.0, (9, 19, 37)), ((10.0,), 16.0, (1,)), ((64.0,), 16.0, (5,)), ((), 16.0, ())],
)
def test_widths_are_odd_numbers_of_cells(widths_um: tuple[float, ...], cell_um: float, cells: tuple[int, ...]) -> None:
    surroundings = Surroundings(widths_um, cell_um)
    assert surroundings.widths == cells
    assert surroundings.radius == max(cells, default=1) // 2


def test_means_are_those_of_the_squares() -> None:
    surroundings = Surroundings((48.0, 112.0), 16.0)
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
