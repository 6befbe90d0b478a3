from __future__ import annotations

import numpy as np

from pixnet.evaluation.baselines import KnnBaseline
from pixnet.evaluation.baselines.knn import NEIGHBOURS, SPACES

COARSE = 2.0


def test_one_neighbour_of_a_training_region_is_itself(samples, panel, observed):
    model = KnnBaseline(COARSE, neighbours=(1,)).fit(samples, panel)
    assert model.k == 1
    for sample in samples:
        predicted = model.predict(sample.slide, sample.regions.centers_um)
        np.testing.assert_allclose(predicted, observed(sample), rtol=1e-6)


def test_all_neighbours_are_the_mean(samples, panel, observed):
    model = KnnBaseline(COARSE, neighbours=(1000,)).fit(samples, panel)
    expected = np.concatenate([observed(s) for s in samples]).mean(axis=0)
    np.testing.assert_allclose(model.predict(samples[0].slide, [[60.0, 60.0]])[0], expected, rtol=1e-6)


def test_chooses_the_best_of_what_it_tried(samples, panel):
    model = KnnBaseline(COARSE).fit(samples, panel)
    assert len(model.validation_scores) == len(NEIGHBOURS) * len(SPACES)
    assert model.validation_scores[model.space, model.k] == max(model.validation_scores.values())
    assert 1 < model.k < 80  # neither a single noisy region nor the mean of all
