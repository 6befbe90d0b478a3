from __future__ import annotations

import numpy as np

from pixnet.evaluation.baselines import MeanBaseline


def test_is_the_mean_of_log_values(samples, panel, observed):
    model = MeanBaseline().fit(samples, panel)
    expected = np.concatenate([observed(s) for s in samples]).mean(axis=0)
    predicted = model.predict(samples[0].slide, [[0, 0], [50, 9]])
    np.testing.assert_allclose(predicted, [expected, expected], rtol=1e-6)


def test_one_region_has_a_mean(samples, panel, observed):
    one = samples[0].take([7])
    predicted = MeanBaseline().fit([one], panel).predict(one.slide, [[0, 0]])
    np.testing.assert_allclose(predicted, observed(one), rtol=1e-6)
