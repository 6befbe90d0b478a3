from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from pixnet.expression import log_expectation
from pixnet.network.losses import expected_log

TOTALS = np.array([40.0, 1500.0, 200_000.0])
SHARES = np.tile([0.0, 1e-6, 1e-4, 3e-3, 0.02, 0.3, 0.7], (3, 1))


@pytest.mark.parametrize(("kind", "within"), [(torch.float64, 2e-5), (torch.float32, 1e-4)])
def test_it_is_the_expectation(kind: torch.dtype, within: float) -> None:
    mean, scale = (torch.tensor(array, dtype=kind) for array in (SHARES * TOTALS[:, None], 1e4 / TOTALS[:, None]))
    np.testing.assert_allclose(expected_log(mean, scale), log_expectation(SHARES, TOTALS), atol=within, rtol=0)


@pytest.mark.parametrize("scale", [0.05, 7.0, 1e4, 1e10])
def test_its_gradient_is_the_expected_step_to_one_count_more(scale: float) -> None:
    for mean in (0.0, 0.3, 5.0, 29.9, 30.1, 300.0, 1e5):
        at = torch.tensor([[mean]], dtype=torch.float64, requires_grad=True)
        expected_log(at, torch.tensor([[scale]], dtype=torch.float64)).backward()
        spread = 12.0 * np.sqrt(mean) + 20.0
        n = np.arange(max(0.0, np.floor(mean - spread)), mean + spread)
        step = np.log1p(scale / (1.0 + scale * n))
        assert at.grad is not None
        assert float(at.grad) == pytest.approx((stats.poisson.pmf(n, mean) * step).sum(), rel=2e-4)


def test_no_size_of_a_mean_and_no_empty_batch_does_harm() -> None:
    at = torch.tensor([[1e30, 1e20, 0.0]], requires_grad=True)
    found = expected_log(at, torch.tensor([[1e4]]))
    found.sum().backward()
    assert at.grad is not None
    assert found.isfinite().all()
    assert at.grad.isfinite().all()
    assert expected_log(torch.zeros(0, 3), torch.zeros(0, 1)).shape == (0, 3)
