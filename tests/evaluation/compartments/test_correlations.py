"""Correlations with stains, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pixnet.evaluation.compartments.correlations import between, within
from pixnet.regions.blocks import block_of

REGION = np.repeat(np.arange(30), 20)


@pytest.fixture
def stains():
    """Nuclear density and eosin of pixels in 30 regions; the means of the regions differ much."""
    rng = np.random.default_rng(0)
    return rng.uniform(size=(600, 2)) + 3.0 * rng.uniform(size=(30, 2))[REGION]


def test_a_map_that_follows_nuclei_inside_regions_is_found_so(stains):
    nuclei = stains[:, 0]
    mean_of_region = np.array([nuclei[number == REGION].mean() for number in range(30)])[REGION]
    noise = np.random.default_rng(1).normal(size=600)
    maps = np.stack([nuclei, -nuclei, mean_of_region, np.ones(600), noise], axis=1)
    r = within(maps, stains, REGION)
    assert r.shape == (5, 2)
    np.testing.assert_allclose(r[:4, 0], [1.0, -1.0, 0.0, 0.0], atol=1e-12)
    assert np.abs(r[[0, 1, 4], 1]).max() < 0.15


def test_what_differs_between_regions_does_not_count(stains):
    # Between regions the map falls with the nuclei, and inside them it rises.
    nuclei = stains[:, 0]
    mean_of_region = np.array([nuclei[number == REGION].mean() for number in range(30)])[REGION]
    wrong_between = (nuclei - 5.0 * mean_of_region)[:, None]
    assert np.corrcoef(wrong_between[:, 0], nuclei)[0, 1] < -0.9
    assert within(wrong_between, stains, REGION)[0, 0] == pytest.approx(1.0)


def test_pixels_without_a_prediction_are_left_out(stains):
    maps = stains[:, :1].astype(np.float32)
    maps[:50] = np.nan
    assert within(maps, stains, REGION)[0, 0] == pytest.approx(1.0)


def regions(number=200, seed=0):
    """Regions in a square whose depth rises with their nuclei, as in tissue."""
    rng = np.random.default_rng(seed)
    nuclei = rng.normal(size=number)
    total = np.exp(8.0 + 0.6 * nuclei + rng.normal(0, 0.3, number))
    centers = rng.uniform(0, 3000, (number, 2))
    return rng, nuclei, total, centers


def test_a_gene_that_only_rises_with_depth_is_not_clear():
    rng, nuclei, total, centers = regions()
    depth = np.log1p(total)
    noise = rng.normal(0, 0.3, (3, len(total)))
    measured = np.stack([depth + noise[0], depth + 0.5 * nuclei + noise[1], depth - 0.5 * nuclei + noise[2]], axis=1)
    assert np.corrcoef(measured[:, 0], nuclei)[0, 1] > 0.7  # all of it through the depth
    found = between(measured, nuclei[:, None], total, centers)
    assert found.clear[:, 0].tolist() == [False, True, True]
    assert np.sign(found.r[1:, 0]).tolist() == [1, -1]
    assert ((found.low < found.r) & (found.r < found.high)).all()


def test_it_is_the_partial_correlation_given_depth():
    rng, nuclei, total, centers = regions(60)
    measured = rng.normal(size=(60, 2)) + nuclei[:, None]
    found = between(measured, nuclei[:, None], total, centers)
    depth = np.log1p(total)
    terms = np.stack([np.ones(60), depth, depth**2], axis=1)
    left = [table - terms @ np.linalg.lstsq(terms, table, rcond=None)[0] for table in (measured, nuclei)]
    expected = [np.corrcoef(left[0][:, gene], left[1])[0, 1] for gene in range(2)]
    np.testing.assert_allclose(found.r[:, 0], expected)


def test_blocks_that_agree_only_within_themselves_are_not_clear():
    # One block of regions has much of both. Region by region that would be clear, but it is one case only.
    rng, _, _, centers = regions(150)
    block = block_of(centers, 12)
    nuclei = np.where(block == 3, 4.0, 0.0) + rng.normal(size=150)
    measured = (np.where(block == 3, 4.0, 0.0) + rng.normal(size=150))[:, None]
    total = np.full(150, 5000.0) + rng.uniform(0, 500, 150)
    alone = between(measured, nuclei[:, None], total, centers)
    half_width = float((alone.high - alone.low)[0, 0]) / 2
    assert half_width > 2 * 1.96 * (1 - alone.r[0, 0] ** 2) / np.sqrt(150)
