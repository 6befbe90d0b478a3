from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixnet.regions.blocks import block_of, cut_blocks, distance, inside


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 5))
def test_each_point_is_in_one_block_and_blocks_hold_about_equally_many(points, number, seed):
    centers = np.random.default_rng(seed).uniform(0, 100, (points, 2))
    blocks = cut_blocks(centers, number, (-1.0, -1.0, 101.0, 101.0))
    held = np.stack([inside(centers, block) for block in blocks])
    assert (held.sum(axis=0) == 1).all()
    assert len(blocks) == min(number, points)
    sizes = held.sum(axis=1)
    assert sizes.min() >= 1
    assert sizes.max() <= np.ceil(points / len(blocks)) + 2
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in blocks) == pytest.approx(102.0**2)


def test_points_at_one_place_are_never_separated():
    centers = np.repeat([[1.0, 1.0], [5.0, 1.0]], 4, axis=0)
    assert np.unique(block_of(centers, 8)).tolist() == [0, 1]
    assert block_of(np.ones((3, 2)), 2).tolist() == [0, 0, 0]


def test_distance_is_to_the_nearest_edge():
    found = distance([[5.0, 5.0], [13.0, 5.0], [13.0, 14.0], [-2.0, 5.0]], (0.0, 0.0, 10.0, 10.0))
    assert found.tolist() == [0.0, 3.0, 5.0, 2.0]
