from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pixnet.counts import Counts
from pixnet.errors import DataError, ModelError
from pixnet.evaluation import baselines
from pixnet.evaluation.baselines import PENALTIES, MeanBaseline, RidgeBaseline
from pixnet.evaluation.crops import BLOCKS, SIDE_UM, crop_features
from pixnet.evaluation.metrics import score
from pixnet.expression import enough_counts, normalise
from pixnet.panel import GenePanel, choose_panel, panel_counts
from pixnet.readers.manifest import read_manifest
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.slide import Slide

COARSE = 2.0  # um per pixel: the facts are the same, the crops are small
PANEL = GenePanel(("RED", "BLUE", "FLAT"), "list")


def make_sample(seed):
    """A board of 120-um squares, redder to the eye with more RED and bluer with more BLUE, in log-normalised values."""
    rng = np.random.default_rng(seed)
    level = rng.random((6, 6, 2))
    colour = np.stack([80 + 150 * level[..., 0], np.full((6, 6), 120), 80 + 150 * level[..., 1]], axis=-1)
    rgb = np.repeat(np.repeat(colour, 60, axis=0), 60, axis=1)
    rgb = np.clip(rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)
    rows, cols = np.divmod(np.arange(36), 6)
    centres = np.column_stack([cols, rows]) * 120.0 + 60.0
    values = np.column_stack([4.0 + 2.0 * level.reshape(36, 2), np.full(36, 5.0)])
    share = np.expm1(values) / 1e4
    counts = np.round(share * 1e6)
    counts = rng.poisson(np.column_stack([counts, 1e6 - counts.sum(axis=1)]) * 0.02)
    table = anndata.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(index=[f"r{i}" for i in range(36)]),
        var=pd.DataFrame(index=[*PANEL.names, "REST"]),
    )
    return Sample(f"s{seed}", Slide.from_array(rgb, 2.0, f"s{seed}"), Disks(centres, 100.0), table)


def observed(sample, panel=PANEL):
    return normalise(panel_counts(sample, panel), sample.depth)


@pytest.fixture(scope="module")
def samples():
    return [make_sample(seed) for seed in (1, 2, 3)]


def test_crop_features_depend_on_the_point_only(samples):
    slide, centres = samples[0].slide, samples[0].regions.centers_um[:7]
    features = crop_features(slide, centres, um_per_px=COARSE)
    assert features.shape == (7, sum(BLOCKS))
    assert features.dtype == np.float32
    for order, batch in ((np.arange(7)[::-1], 3), (np.array([4, 2]), 1)):
        other = crop_features(slide, centres[order], batch=batch, um_per_px=COARSE)
        np.testing.assert_allclose(other, features[order], rtol=1e-4, atol=1e-4)


def test_crop_features_groups_are_what_they_say():
    grey = Slide.from_array(np.full((100, 100, 3), (90, 120, 200), np.uint8), 2.0)
    crop = crop_features(grey, [[100, 100]], um_per_px=COARSE)[0]
    colour = crop[-BLOCKS[-1] :]
    np.testing.assert_allclose(colour[:3], (90, 120, 200), atol=1e-3)
    density = -np.log10((np.array([90, 120, 200]) + 1) / 256)
    np.testing.assert_allclose(colour[6:9], density, rtol=1e-5)
    np.testing.assert_allclose(colour[9:18], 0, atol=1e-4)  # deviations
    np.testing.assert_allclose(colour[18:25], 90)  # quantiles of red
    beyond = crop_features(grey, [[-SIDE_UM, -SIDE_UM]], um_per_px=COARSE)[0]
    np.testing.assert_allclose(beyond[-BLOCKS[-1] :][:3], 255)


def test_crop_features_default_resolution():
    rgb = np.random.default_rng(0).integers(0, 255, (240, 240, 3), dtype=np.uint8)
    features = crop_features(Slide.from_array(rgb, 0.5), [[60.0, 60.0]])
    assert features.shape == (1, sum(BLOCKS))
    assert np.isfinite(features).all()
    window = rgb[8:232, 8:232].reshape(-1, 3).astype(float)
    np.testing.assert_allclose(features[0, -BLOCKS[-1] :][:3], window.mean(axis=0), atol=1.5)


def test_crops_that_cannot_be():
    slide = Slide.from_array(np.zeros((10, 10, 3), np.uint8), 1.0)
    with pytest.raises(DataError, match="centers_um"):
        crop_features(slide, [1.0, 2.0])
    with pytest.raises(DataError, match="um per pixel"):
        crop_features(slide, [[1.0, 2.0]], um_per_px=10.0)
    assert crop_features(slide, np.empty((0, 2))).shape == (0, sum(BLOCKS))


def test_mean_baseline_is_the_mean_of_log_values(samples):
    model = MeanBaseline().fit(samples, PANEL)
    expected = np.concatenate([observed(s) for s in samples]).mean(axis=0)
    predicted = model.predict(samples[0].slide, [[0, 0], [50, 9]])
    np.testing.assert_allclose(predicted, [expected, expected], rtol=1e-6)
    with pytest.raises(DataError, match="lower min_counts"):
        MeanBaseline().fit(samples, PANEL, min_counts=10**7)


def test_ridge_recovers_what_colour_tells(samples):
    test = make_sample(9)
    model = RidgeBaseline(COARSE).fit(samples, PANEL)
    result = score(observed(test), model.predict(test.slide, test.regions.centers_um))
    mean = score(observed(test), MeanBaseline().fit(samples, PANEL).predict(test.slide, test.regions.centers_um))
    assert result["per_gene"][:2].min() > 0.95
    assert result["mse"] < 0.15 * mean["mse"]
    assert model.penalty in PENALTIES
    assert model.penalty == max(model.validation_scores, key=lambda penalty: model.validation_scores[penalty])


def test_ridge_of_one_sample_is_tuned_on_blocks(samples):
    model = RidgeBaseline(COARSE).fit(samples[:1], PANEL)
    test = samples[1]
    assert score(observed(test), model.predict(test.slide, test.regions.centers_um))["per_gene"][:2].min() > 0.85


def test_blocks_are_of_equal_number_and_in_one_piece():
    centres = np.random.default_rng(0).random((41, 2))
    block = baselines._quarters(centres)
    assert sorted(np.bincount(block)) == [10, 10, 10, 11]
    assert centres[block < 2, 0].max() < centres[block >= 2, 0].min()
    for left in (0, 2):
        assert centres[block == left, 1].max() < centres[block == left + 1, 1].min()


def test_ridge_solves_its_equation(samples):
    """Weights from the eigenvectors are those of the normal equations, and those of a fit by sample with intercepts."""
    rng = np.random.default_rng(0)
    width = sum(BLOCKS)
    x, y, owner = rng.normal(3, 2, (60, width)).astype(np.float32), rng.normal(size=(60, 4)), np.repeat([0, 1], 30)
    new = rng.normal(3, 2, (5, width)).astype(np.float32)
    scale = 1 / (x.astype(float).std(axis=0) * np.sqrt(np.repeat(BLOCKS, BLOCKS)))
    within_x = np.concatenate([x[owner == i] - x[owner == i].astype(float).mean(axis=0) for i in (0, 1)]) * scale
    within_y = np.concatenate([y[owner == i] - y[owner == i].mean(axis=0) for i in (0, 1)])
    for penalty in (0.1, 10.0):
        weights = np.linalg.solve(within_x.T @ within_x + penalty * np.eye(width), within_x.T @ within_y)
        expected = y.mean(axis=0) + ((new - x.astype(float).mean(axis=0)) * scale) @ weights
        np.testing.assert_allclose(baselines._Ridge(x, y, owner).predict(new, penalty), expected, rtol=1e-6, atol=1e-9)


def test_a_feature_that_never_changes_is_not_blown_up():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, sum(BLOCKS))).astype(np.float32)
    x[:, 5] = 7.0
    ridge = baselines._Ridge(x, rng.normal(size=(20, 2)), np.zeros(20, int))
    changed = x.copy()
    changed[:, 5] = 7.1
    np.testing.assert_array_equal(ridge.predict(changed, 1.0), ridge.predict(x, 1.0))


def test_nothing_of_the_test_sample_reaches_the_fit(samples):
    """Shuffling the held-out regions changes neither panel nor penalty, and shuffles the predictions alike."""
    test = make_sample(8)
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


def test_poor_regions_are_left_out_of_training(samples):
    first = samples[0]
    matrix = first.counts.matrix.toarray()
    matrix[:4] = [3, 0, 0, 0]  # all RED, at three counts
    table = Counts(matrix, first.genes)
    spoilt = Sample(first.id, first.slide, first.regions, table)
    clean = first.take(np.arange(4, 36))
    points = samples[1].regions.centers_um
    for model in (MeanBaseline, lambda: RidgeBaseline(COARSE)):
        expected = model().fit([clean], PANEL).predict(samples[1].slide, points)
        np.testing.assert_allclose(model().fit([spoilt], PANEL).predict(samples[1].slide, points), expected, atol=1e-4)


def test_use_before_fit_and_too_few_regions(samples):
    for model in (MeanBaseline(), RidgeBaseline()):
        with pytest.raises(ModelError, match="call fit"):
            model.predict(samples[0].slide, [[0.0, 0.0]])
    with pytest.raises(DataError, match="ridge needs 8"):
        RidgeBaseline(COARSE).fit([samples[0].take([0, 1, 2])], PANEL)


@pytest.mark.filterwarnings("ignore::pixnet.errors.PixNetWarning")  # positions without counts
def test_ridge_on_a_real_section(shared):
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
