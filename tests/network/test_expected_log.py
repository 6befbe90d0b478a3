from __future__ import annotations

import numpy as np
import pytest
import torch

from pixnet.expression import log_expectation
from pixnet.network.expected_log import expected_log

TOTALS = np.array([40.0, 1500.0, 200_000.0])
SHARES = np.tile([0.0, 1e-6, 1e-4, 3e-3, 0.02, 0.3, 0.7], (3, 1))


@pytest.mark.parametrize(("kind", "within"), [(torch.float64, 2e-5), (torch.float32, 1e-4)])
def test_it_is_the_expectation(kind: torch.dtype, within: float) -> None:
    mean, scale = (torch.tensor(array, dtype=kind) for array in (SHARES * TOTALS[:, None], 1e4 / TOTALS[:, None]))
    np.testing.assert_allclose(expected_log(mean, scale), log_expectation(SHARES, TOTALS), atol=within, rtol=0)


def test_its_gradient_is_the_expected_step_to_one_count_more() -> None:
    rng, scale = np.random.default_rng(0), torch.tensor([[7.0]])
    for mean in (0.0, 0.3, 5.0, 29.9, 30.1, 300.0):
        at = torch.tensor([[mean]], requires_grad=True)
        expected_log(at, scale).backward()
        n = rng.poisson(mean, 400_000)
        assert at.grad is not None
        assert float(at.grad) == pytest.approx((np.log1p(7.0 * (n + 1)) - np.log1p(7.0 * n)).mean(), rel=0.02)
