from __future__ import annotations

import numpy as np
import pytest

from pixnet.errors import DataError
from pixnet.scoring.spatial import morans_i, neighbour_weights


def test_morans_i_agrees_with_one_by_hand():
    weights = neighbour_weights([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0], [11.0, 0.0]], [0, 0, 0, 0], neighbours=1)
    values = np.array([[1.0, 1.0, 5.0], [1.0, -1.0, 5.0], [-1.0, 1.0, 5.0], [-1.0, -1.0, 5.0]])
    found = morans_i(values, weights)
    assert found[:2].tolist() == [1.0, -1.0]
    assert np.isnan(found[2])


def test_noise_has_a_morans_i_of_about_zero_and_a_gradient_of_about_one():
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(30.0), np.arange(30.0))
    centers = np.stack([x.ravel(), y.ravel()], axis=1)
    values = np.stack([rng.normal(size=900), x.ravel()], axis=1)
    noise, gradient = morans_i(values, neighbour_weights(centers, np.zeros(900)))
    assert abs(noise) < 0.1
    assert gradient > 0.9


def test_neighbours_are_of_the_same_sample():
    centers = [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [50.0, 0.0]]
    weights = neighbour_weights(centers, [0, 1, 0, 1, 2]).toarray()
    expected = np.zeros((5, 5))
    expected[0, 2] = expected[2, 0] = expected[1, 3] = expected[3, 1] = 1.0
    np.testing.assert_array_equal(weights, expected)


def test_regions_at_one_place_are_not_their_own_neighbours():
    weights = neighbour_weights(np.zeros((5, 2)), np.zeros(5), neighbours=2)
    assert (weights.diagonal() == 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


def test_a_single_region_has_no_spatial_error():
    assert np.isnan(morans_i([[1.0, 2.0]], neighbour_weights([[3.0, 4.0]], [0]))).all()


def test_values_and_weights_must_fit_together():
    with pytest.raises(DataError, match="do not fit weights"):
        morans_i(np.ones((3, 2)), neighbour_weights(np.ones((2, 2)), [0, 0]))
