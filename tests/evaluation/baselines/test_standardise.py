from __future__ import annotations

import numpy as np

from pixnet.evaluation.baselines.standardise import Standardiser


def test_variance_one_and_equal_groups():
    x = np.random.default_rng(0).normal(5, [1, 2, 3, 4], (50, 4)).astype(np.float32)
    x[:, 3] = 0.1
    plain = Standardiser(x)(x)
    np.testing.assert_allclose(plain.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(plain.std(axis=0), [1, 1, 1, 0], atol=1e-6)
    grouped = Standardiser(x, (1, 3))(x)
    np.testing.assert_allclose((grouped**2).sum(axis=0) / 50, [1, 1 / 3, 1 / 3, 0], atol=1e-6)
