from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from pixnet.errors import DataError
from pixnet.evaluation.baselines import IstarBaseline
from pixnet.evaluation.baselines.istar import GROUPS, PITCH_UM, superpixels_under
from pixnet.evaluation.baselines.networks import MeanSupervision, SuperpixelMLP, median_prediction, region_means
from pixnet.grid import Grid
from pixnet.regions import Disks, Squares
from pixnet.slide import Slide


@pytest.fixture(scope="module")
def samples(board):
    return [board(seed, side=4) for seed in (1, 2)]


@pytest.fixture(scope="module")
def model(samples, panel):
    return IstarBaseline(most_epochs=8, restarts=2).fit(samples[:1], panel)


def test_a_disk_is_the_mean_of_its_super_pixels_weighted_by_area(model, samples):
    slide, disk = samples[1].slide, Disks([[301.0, 257.5]], model.diameter_um)
    grid = Squares.tiling(240, 200, 368, 320, 8.0)
    values = model.predict_regions(slide, grid)
    areas = disk.coverage(Grid(240, 200, 8.0, 15, 16)).toarray()[0]
    expected = areas @ values / areas.sum()
    np.testing.assert_allclose(model.predict(slide, disk.centers_um)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(model.predict_regions(slide, disk)[0], expected, rtol=1e-5)


def test_a_bin_takes_the_super_pixel_that_it_lies_in(model, samples):
    slide = samples[1].slide
    coarse = model.predict_regions(slide, Squares.tiling(240, 240, 256, 256, 8.0))
    fine = model.predict_regions(slide, Squares.tiling(240, 240, 256, 256, 2.0))
    np.testing.assert_allclose(
        fine.reshape(2, 4, 2, 4, 3), np.broadcast_to(coarse.reshape(2, 1, 2, 1, 3), (2, 4, 2, 4, 3)), rtol=1e-6
    )


def test_averages_over_the_size_it_was_trained_on(model, samples, panel):
    assert model.diameter_um == pytest.approx(100.0)
    sample = samples[0]
    squares = Squares.tiling(0, 0, 480, 480, 120.0)
    other = type(sample)(sample.id, sample.slide, squares, sample.counts)
    trained = IstarBaseline(most_epochs=4, restarts=1).fit([other], panel)
    assert trained.diameter_um == pytest.approx(120 * 2 / np.sqrt(np.pi))


def test_regions_beyond_the_slide(model, samples):
    with pytest.raises(DataError, match="1 of 2 regions are completely outside"):
        model.predict(samples[0].slide, [[60.0, 60.0], [5000.0, 60.0]])
    with pytest.raises(DataError, match="got 2 epochs"):
        IstarBaseline(most_epochs=2)


def test_the_loss_is_on_the_mean_over_a_region():
    """The mean over a region is the average of the network's own predictions there."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(7, 5)).astype(np.float32))
    weights = sparse.csr_array([[0.5, 0.5, 0, 0, 0, 0, 0], [0, 0, 0.2, 0, 0, 0.8, 0]])
    network = SuperpixelMLP(5, 3)
    with torch.inference_mode():
        of_superpixels = network(features).numpy()
        means = region_means(network, features, weights).numpy()
    assert (of_superpixels > 0).all()
    np.testing.assert_allclose(means, weights @ of_superpixels, rtol=1e-5)


def test_training_lowers_the_error_and_leaves_the_global_generator_alone():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 5)).astype(np.float32)
    weights = sparse.csr_array(np.kron(np.eye(10), np.full((1, 4), 0.25)))
    targets = weights @ (0.5 + 0.2 * np.tanh(features[:, :2]))
    state = torch.get_rng_state()
    training = MeanSupervision(features, weights, targets, 3, 1e-3, 4)
    assert torch.equal(state, torch.get_rng_state())
    before = ((training.means(weights) - targets) ** 2).mean()
    for _ in range(40):
        training.epoch()
    assert ((training.means(weights) - targets) ** 2).mean() < 0.1 * before


def test_median_of_restarts():
    features = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    networks = [SuperpixelMLP(5, 2) for _ in range(3)]
    with torch.inference_mode():
        predictions = np.stack([network(torch.from_numpy(features)).numpy() for network in networks])
    np.testing.assert_allclose(median_prediction(networks, features), np.median(predictions, axis=0), rtol=1e-5)


def test_the_seed_matters_and_epochs_are_the_best_tried(model, samples, panel):
    other = IstarBaseline(most_epochs=8, restarts=2).fit(samples[:1], panel, seed=1)
    places = samples[1].slide, samples[1].regions.centers_um[:4]
    assert np.abs(other.predict(*places) - model.predict(*places)).max() > 1e-5
    assert sorted(model.validation_scores) == [4, 8]
    assert model.validation_scores[model.epochs] == max(model.validation_scores.values())


@pytest.fixture(scope="module")
def slide():
    rgb = np.random.default_rng(0).integers(0, 255, (60, 272, 3), dtype=np.uint8)
    return Slide.from_array(np.repeat(rgb, 4, axis=1), 1.0)  # 60 x 1088 um: two tiles


def test_areas_add_up_over_tiles(slide):
    regions = Disks([[500.0, 30.0], [1024.0, 30.0], [1070.0, 20.0]], [40.0, 50.0, 1.0])
    total, seen = np.zeros(3), []
    for rows, areas, features in superpixels_under(slide, regions):
        assert areas.shape == (len(rows), len(features))
        assert features.shape[1] == sum(GROUPS)
        assert (np.diff(areas.tocsc().indptr) > 0).all(), "every super-pixel has a part in a region"
        total[rows] += areas.sum(axis=1)
        seen.append(rows.tolist())
    assert seen == [[0, 1], [1, 2]]
    np.testing.assert_allclose(total, regions.areas_um2)


def test_features_do_not_depend_on_the_regions(slide):
    few = Squares.tiling(40, 16, 48, 24, PITCH_UM)
    many = Squares.tiling(0, 0, 64, 32, PITCH_UM)
    ((_, areas, alone),) = superpixels_under(slide, few)
    ((rows, all_areas, among),) = superpixels_under(slide, many)
    assert len(alone) == 1
    np.testing.assert_allclose(areas.toarray(), [[PITCH_UM**2]])
    np.testing.assert_array_equal(rows, np.arange(32))
    np.testing.assert_allclose(all_areas.toarray(), PITCH_UM**2 * np.eye(32))
    np.testing.assert_array_equal(among[2 * 8 + 5], alone[0])


def test_colour_is_that_of_the_super_pixel(slide):
    ((_, _, features),) = superpixels_under(slide, Squares.tiling(40, 16, 48, 24, PITCH_UM))
    pixels = slide.read(40, 16, 8, 8, 1.0)[0].reshape(-1, 3).astype(float)
    colour = features[0, -18:]
    np.testing.assert_allclose(colour[:3], pixels.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(colour[9:12], pixels.std(axis=0), rtol=1e-5)
