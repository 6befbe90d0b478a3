from __future__ import annotations

import numpy as np

from pixnet.evaluation.baselines.eigen_ridge import EigenRidge

GROUPS = (5, 20, 3)
WIDTH = sum(GROUPS)


def test_solves_its_equation():
    """Weights from the eigenvectors are those of the normal equations, and those of a fit by sample with intercepts."""
    rng = np.random.default_rng(0)
    x, y, owner = rng.normal(3, 2, (60, WIDTH)).astype(np.float32), rng.normal(size=(60, 4)), np.repeat([0, 1], 30)
    new = rng.normal(3, 2, (5, WIDTH)).astype(np.float32)
    scale = 1 / (x.astype(float).std(axis=0) * np.sqrt(np.repeat(GROUPS, GROUPS)))
    within_x = np.concatenate([x[owner == i] - x[owner == i].astype(float).mean(axis=0) for i in (0, 1)]) * scale
    within_y = np.concatenate([y[owner == i] - y[owner == i].mean(axis=0) for i in (0, 1)])
    for penalty in (0.1, 10.0):
        weights = np.linalg.solve(within_x.T @ within_x + penalty * np.eye(WIDTH), within_x.T @ within_y)
        expected = y.mean(axis=0) + ((new - x.astype(float).mean(axis=0)) * scale) @ weights
        found = EigenRidge(x, y, owner, GROUPS).predict(new, penalty)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_feature_that_never_changes_is_not_blown_up():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, WIDTH)).astype(np.float32)
    x[:, 5] = 7.0
    ridge = EigenRidge(x, rng.normal(size=(20, 2)), np.zeros(20, int), GROUPS)
    changed = x.copy()
    changed[:, 5] = 7.1
    np.testing.assert_array_equal(ridge.predict(changed, 1.0), ridge.predict(x, 1.0))
