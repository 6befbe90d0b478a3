from __future__ import annotations

import numpy as np
import pytest
import torch

from pixnet.evaluation.baselines import StNetBaseline
from pixnet.evaluation.baselines.networks import CropNetwork, FineTuning, predict_crops, symmetry
from pixnet.slide import Slide

COARSE = 3.5  # um per pixel: crops of 32 px


@pytest.fixture(scope="module")
def model(samples, panel):
    return StNetBaseline(COARSE, most_epochs=2).fit(samples[:2], panel)


def test_starts_at_the_training_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 1, (6, 4))
    training = FineTuning(rng.integers(0, 255, (6, 56, 56, 3), dtype=np.uint8), values, 0, 1e-4, 4)
    before = predict_crops(training.network, training.crops)
    np.testing.assert_allclose(before, np.tile(values.mean(axis=0), (6, 1)), rtol=1e-6)
    first = next(training.network.encoder.parameters()).detach().clone()
    for _ in range(2):
        training.epoch()
    assert training.epochs == 2
    assert np.abs(predict_crops(training.network, training.crops) - before).max() > 1e-3
    assert not torch.equal(first, next(training.network.encoder.parameters())), "the encoder learns too"


def test_stored_statistics_stay():
    network = CropNetwork(np.zeros(2)).train()
    before = network.encoder.model.bn1.running_mean.clone()
    network(torch.zeros(4, 3, 56, 56, dtype=torch.uint8))
    torch.testing.assert_close(network.encoder.model.bn1.running_mean, before)


def test_the_eight_symmetries_are_those_of_the_square():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    found = {tuple(symmetry(image, number).flatten().tolist()) for number in range(8)}
    assert len(found) == 8
    assert all(row[4] == 4 and set(row) == set(range(9)) for row in found)
    torch.testing.assert_close(symmetry(image, 0), image)


def test_a_flipped_or_turned_slide_gives_the_same(model, samples):
    rgb = samples[2].slide.read(0, 0, 720, 720, 2.0)[0]
    x, y = np.array([[60.0, 180.0], [300.0, 420.0], [540.0, 60.0]]).T
    expected = model.predict(Slide.from_array(rgb, 2.0), np.column_stack([x, y]))
    assert np.ptp(expected[:, 0]) > 1e-3
    for image, points in (
        (rgb[:, ::-1], (720 - x, y)),
        (rgb[::-1], (x, 720 - y)),
        (rgb.transpose(1, 0, 2), (y, x)),
        (np.rot90(rgb), (y, 720 - x)),
    ):
        slide = Slide.from_array(np.ascontiguousarray(image), 2.0)
        np.testing.assert_allclose(model.predict(slide, np.column_stack(points)), expected, atol=1e-4)


def test_the_seed_matters_and_epochs_are_the_best_tried(model, samples, panel):
    other = StNetBaseline(COARSE, most_epochs=2).fit(samples[:2], panel, seed=1)
    places = samples[2].slide, samples[2].regions.centers_um[:4]
    assert np.abs(other.predict(*places) - model.predict(*places)).max() > 1e-5
    assert sorted(model.validation_scores) == [1, 2]
    assert model.validation_scores[model.epochs] == max(model.validation_scores.values())
