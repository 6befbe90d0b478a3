from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pixnet.evaluation.baselines import ColourRidgeBaseline, HestRidgeBaseline, MeanBaseline, RidgeBaseline
from pixnet.evaluation.baselines.crops import pooled_features
from pixnet.evaluation.baselines.ridge import PENALTIES, EigenRidge
from pixnet.expression import correlation
from pixnet.readers.manifest import read_manifest
from pixnet.sample.panel import choose_panel
from pixnet.sample.sample import enough_counts
from pixnet.scoring.metrics import score
from pixnet.slide import Slide

COARSE = 2.0
GROUPS = (5, 20, 3)
WIDTH = sum(GROUPS)


def test_mean_is_that_of_log_values(samples, panel, observed):
    model = MeanBaseline().fit(samples, panel)
    expected = np.concatenate([observed(s) for s in samples]).mean(axis=0)
    predicted = model.predict(samples[0].slide, [[0, 0], [50, 9]])
    np.testing.assert_allclose(predicted, [expected, expected], rtol=1e-6)


def test_one_region_has_a_mean(samples, panel, observed):
    single = samples[0].take([7])
    predicted = MeanBaseline().fit([single], panel).predict(single.slide, [[0, 0]])
    np.testing.assert_allclose(predicted, observed(single), rtol=1e-6)


def test_colour_ridge_sees_no_shapes(samples, board, panel):
    """The pixels of every square in another order give the same predictions."""
    model = ColourRidgeBaseline().fit(samples, panel)
    assert model.penalty in PENALTIES
    rgb = np.random.default_rng(0).integers(60, 220, (112, 112, 3), dtype=np.uint8)
    order = np.random.default_rng(1).permutation(112 * 112)
    shuffled = rgb.reshape(-1, 3)[order].reshape(rgb.shape)
    first, second = (model.predict(Slide.from_array(image, 1.0), [[56.0, 56.0]]) for image in (rgb, shuffled))
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_recovers_what_colour_shows(samples, board, panel, observed):
    test = board(9)
    model = RidgeBaseline(COARSE).fit(samples, panel)
    result = score(observed(test), model.predict(test.slide, test.regions.centers_um))
    mean = score(observed(test), MeanBaseline().fit(samples, panel).predict(test.slide, test.regions.centers_um))
    assert result["per_gene"][:2].min() > 0.95
    assert result["mse"] < 0.15 * mean["mse"]
    assert model.penalty in PENALTIES
    assert model.penalty == max(model.validation_scores, key=lambda penalty: model.validation_scores[penalty])


def test_one_sample_is_tuned_on_blocks(samples, panel, observed):
    model = RidgeBaseline(COARSE).fit(samples[:1], panel)
    test = samples[1]
    assert score(observed(test), model.predict(test.slide, test.regions.centers_um))["per_gene"][:2].min() > 0.85


def test_the_order_of_held_out_regions_means_nothing(samples, board):
    """Shuffling the held-out regions changes neither panel nor penalty, and shuffles the predictions the same way."""
    test = board(8)
    order = np.random.default_rng(0).permutation(len(test.regions))
    results = []
    for held_out in (test, test.take(order)):
        train = [s for s in (*samples, held_out) if s is not held_out]
        panel = choose_panel(train, 3)
        model = RidgeBaseline(COARSE).fit(train, panel)
        results.append((panel, model.penalty, model.validation_scores))
        results.append(model.predict(held_out.slide, held_out.regions.centers_um))
    assert results[0] == results[2]
    np.testing.assert_allclose(results[1][order], results[3], atol=1e-4)


@pytest.mark.filterwarnings("ignore::pixnet.errors.PixNetWarning")  # positions without counts
def test_on_a_real_section(shared, observed):
    """Trained on C2 at 1 um per pixel, ridge beats the mean on C3 by far more than chance."""
    train, test = read_manifest(shared / "data" / "her2st" / "samples.toml", ["C2", "C3"])
    test = test.take(enough_counts(test, 500))
    panel = choose_panel([train], 250)
    centres, truth = test.regions.centers_um, observed(test, panel)
    mean = score(truth, MeanBaseline().fit([train], panel).predict(test.slide, centres))
    ridge = score(truth, RidgeBaseline(1.0).fit([train], panel).predict(test.slide, centres))
    assert mean["pcc_m"] == 0
    assert mean["n_constant_predicted"] == 250 - mean["n_constant_observed"]
    assert ridge["pcc_m"] > 0.2


def test_eigen_ridge_solves_its_equation():
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
        predicted = EigenRidge(x, y, owner, GROUPS).predict(new, penalty)
        np.testing.assert_allclose(predicted, expected, rtol=1e-6, atol=1e-9)


def test_a_feature_that_never_changes_is_not_blown_up():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, WIDTH)).astype(np.float32)
    x[:, 5] = 7.0
    ridge = EigenRidge(x, rng.normal(size=(20, 2)), np.zeros(20, int), GROUPS)
    changed = x.copy()
    changed[:, 5] = 7.1
    np.testing.assert_array_equal(ridge.predict(changed, 1.0), ridge.predict(x, 1.0))


@pytest.fixture(scope="module")
def fitted(samples, panel, observed):
    x = np.concatenate([pooled_features(s.slide, s.regions.centers_um, um_per_px=COARSE) for s in samples[:2]])
    y = np.concatenate([observed(s) for s in samples[:2]]).astype(float)
    return HestRidgeBaseline(COARSE).fit(samples[:2], panel), x, y


def test_hest_ridge_equals_the_published_pipeline(fitted, samples):
    model, x, y = fitted
    test = samples[2]
    components = len(x)  # fewer than 256
    ridge = Ridge(alpha=100 / (components * 3), solver="lsqr", fit_intercept=False, max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), PCA(components, random_state=1), ridge).fit(x, y)
    expected = pipeline.predict(pooled_features(test.slide, test.regions.centers_um, um_per_px=COARSE)) + y.mean(axis=0)
    np.testing.assert_allclose(model.predict(test.slide, test.regions.centers_um), expected, rtol=1e-5)


def test_hest_ridge_has_the_level_of_a_fit_with_intercept(fitted, samples):
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
    predicted = model.predict(test.slide, test.regions.centers_um)
    # lsqr stops at a relative error of 1e-4 of the fit, which a test region far from all others blows up.
    assert np.median(np.abs(predicted - expected)) < 0.02
    assert correlation(predicted, expected).min() > 0.98
