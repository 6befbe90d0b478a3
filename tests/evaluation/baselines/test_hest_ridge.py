from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pixnet.evaluation.baselines import HestRidgeBaseline
from pixnet.evaluation.baselines.crops import pooled_features
from pixnet.expression import correlation

COARSE = 2.0


@pytest.fixture(scope="module")
def fitted(samples, panel, observed):
    x = np.concatenate([pooled_features(s.slide, s.regions.centers_um, um_per_px=COARSE) for s in samples[:2]])
    y = np.concatenate([observed(s) for s in samples[:2]]).astype(float)
    return HestRidgeBaseline(COARSE).fit(samples[:2], panel), x, y


def test_equals_the_published_pipeline(fitted, samples):
    model, x, y = fitted
    test = samples[2]
    components = len(x)  # fewer than 256
    ridge = Ridge(alpha=100 / (components * 3), solver="lsqr", fit_intercept=False, max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), PCA(components, random_state=1), ridge).fit(x, y)
    expected = pipeline.predict(pooled_features(test.slide, test.regions.centers_um, um_per_px=COARSE)) + y.mean(axis=0)
    np.testing.assert_allclose(model.predict(test.slide, test.regions.centers_um), expected, rtol=1e-5)


def test_the_level_is_that_of_a_fit_with_intercept(fitted, samples):
    """Components are centred, so leaving the intercept out costs the level and nothing else."""
    model, x, y = fitted
    test = samples[2]
    components = PCA(len(x), random_state=1).fit(StandardScaler().fit_transform(x))
    scaler = StandardScaler().fit(x)
    z, new = (
        components.transform(scaler.transform(part))
        for part in (x, pooled_features(test.slide, test.regions.centers_um, um_per_px=COARSE))
    )
    gram = z.T @ z + 100 / (len(x) * 3) * np.eye(z.shape[1])
    expected = y.mean(axis=0) + new @ np.linalg.solve(gram, z.T @ (y - y.mean(axis=0)))
    found = model.predict(test.slide, test.regions.centers_um)
    # lsqr stops at a relative error of 1e-4 of the fit, which a test region far from all others blows up.
    assert np.median(np.abs(found - expected)) < 0.02
    assert correlation(found, expected).min() > 0.98
