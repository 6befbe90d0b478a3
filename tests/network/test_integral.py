from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from pixnet.grid import Grid
from pixnet.network.heads import integrate, to_torch
from pixnet.regions import Disks


def coverage_of_two_tiles() -> tuple[sparse.csr_array, np.ndarray]:
    """Return the coverage of five disks on two tiles of 6 x 7 pixels, and the same as a dense array."""
    grid = Grid(0.0, 0.0, 2.0, 6, 7)
    first = Disks([[4.0, 5.0], [7.0, 6.0], [3.0, 8.0]], 5.0).coverage(grid)
    second = Disks([[9.0, 4.0], [6.0, 6.0]], [1.0, 9.0]).coverage(grid)
    both = sparse.csr_array(sparse.block_diag([first, second], format="csr"))
    return both, both.toarray()


def test_an_integral_is_the_sum_over_pixels_of_area_times_value() -> None:
    coverage, dense = coverage_of_two_tiles()
    latent = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    found = integrate(latent, to_torch(coverage))
    expected = np.zeros((5, 3))
    for region in range(5):
        for tile in range(2):
            for row in range(6):
                for col in range(7):
                    expected[region] += dense[region, tile * 42 + row * 7 + col] * latent[tile, :, row, col].numpy()
    assert np.allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert np.allclose(integrate(torch.ones_like(latent), to_torch(coverage)).numpy(), dense.sum(1)[:, None], rtol=1e-6)


def test_its_gradient_is_the_coverage() -> None:
    coverage, dense = coverage_of_two_tiles()
    latent = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    (integrate(latent, to_torch(coverage)) * weight).sum().backward()
    expected = (dense.T @ weight.numpy().astype(np.float64)).reshape(2, 6, 7, 3).transpose(0, 3, 1, 2)
    assert latent.grad is not None
    assert np.allclose(latent.grad.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_its_gradient_agrees_with_finite_differences() -> None:
    coverage, _ = coverage_of_two_tiles()
    latent = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    areas = to_torch(coverage)
    # The product runs in float32, and it is linear: a large step loses nothing.
    assert torch.autograd.gradcheck(lambda x: integrate(x, areas).double(), latent, eps=1.0, atol=1e-4, rtol=1e-4)


def test_half_precision_maps_are_added_in_single_precision() -> None:
    areas = to_torch(sparse.csr_array(np.full((1, 64 * 64), 4.0)))
    latent = torch.full((1, 1, 64, 64), 1.0 + 2**-7, dtype=torch.bfloat16)
    found = integrate(latent, areas)
    assert found.dtype == torch.float32
    assert float(found) == 4096 * 4 * (1.0 + 2**-7)


def test_regions_that_touch_no_pixel_give_zero() -> None:
    empty = to_torch(sparse.csr_array((3, 16)))
    assert torch.equal(integrate(torch.ones(1, 2, 4, 4), empty), torch.zeros(3, 2))
