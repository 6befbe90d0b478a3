"""What is left beyond the main axes: cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pixnet.errors import DataError
from pixnet.scoring.axes import (
    correlation_without_axes,
    pair_agreement,
    participation_above_noise,
    participation_ratio,
    without_axes,
)


@pytest.fixture
def pictures() -> np.ndarray:
    """Four orthonormal pictures of 60 regions, each with mean zero."""
    values = np.random.default_rng(0).normal(size=(60, 4))
    return np.asarray(np.linalg.qr(values - values.mean(axis=0))[0])


def table_of(pictures, strengths, genes=12, seed=1):
    """Return a table in which all genes mix the pictures, the first the strongest."""
    mixing = np.linalg.qr(np.random.default_rng(seed).normal(size=(genes, len(strengths))))[0]
    return 3.0 + (pictures[:, : len(strengths)] * strengths) @ mixing.T


def test_what_follows_the_first_axis_alone_is_nothing_beyond_it(pictures):
    one = table_of(pictures, [4.0])
    truth = one + 0.1 * table_of(pictures, [0.0, 1.0])
    assert correlation_without_axes(truth, one, 0) == pytest.approx(np.ones(12), abs=0.2)
    np.testing.assert_array_equal(correlation_without_axes(truth, one, 1), 0.0)
    np.testing.assert_array_equal(correlation_without_axes(truth, one.astype(np.float32), 1), 0.0)


def test_axes_are_taken_off_one_by_one(pictures):
    predicted = table_of(pictures, [4.0, 2.0, 1.0])
    for axes in range(4):
        truth, left = without_axes(predicted, predicted, axes)
        np.testing.assert_allclose(truth, left)
        strengths = np.linalg.svd(left, compute_uv=False)[:3]
        np.testing.assert_allclose(strengths, [4.0, 2.0, 1.0][axes:] + [0.0] * axes, atol=1e-8)
        r = correlation_without_axes(predicted, predicted, axes)
        np.testing.assert_allclose(r, 0.0 if axes == 3 else 1.0, atol=1e-9)


def test_the_axes_are_those_of_the_predictions(pictures):
    # The truth has its main axis where the predictions have their second, so it is untouched by taking off the first.
    truth = pictures[:, [0]] @ np.ones((1, 5))
    predicted = truth + 10.0 * pictures[:, [1]] @ np.ones((1, 5))
    np.testing.assert_allclose(correlation_without_axes(truth, predicted, 0), 1 / np.sqrt(101))
    np.testing.assert_array_equal(correlation_without_axes(truth, predicted, 1), 0.0)  # one axis holds both pictures
    apart = np.hstack([predicted, truth])
    assert (correlation_without_axes(np.hstack([truth, truth]), apart, 1)[5:] > 0.9).all()


def test_it_is_the_partial_correlation_given_the_scores_of_the_axes():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(40, 6))
    predicted = truth + rng.normal(size=(40, 6))
    axes = np.linalg.svd(predicted - predicted.mean(axis=0), full_matrices=False)[0][:, :2]
    terms = np.column_stack([np.ones(40), axes])
    left = [table - terms @ np.linalg.lstsq(terms, table, rcond=None)[0] for table in (truth, predicted)]
    expected = [np.corrcoef(left[0][:, gene], left[1][:, gene])[0, 1] for gene in range(6)]
    np.testing.assert_allclose(correlation_without_axes(truth, predicted, 2), expected)


def test_a_gene_that_does_not_vary_has_no_correlation():
    rng = np.random.default_rng(4)
    truth, predicted = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    truth[:, 1] = 2.0
    assert np.isnan(correlation_without_axes(truth, predicted, 1)).tolist() == [False, True, False]
    np.testing.assert_array_equal(correlation_without_axes(truth[:, [0, 2]], np.ones((20, 2)), 1), 0.0)


def test_the_participation_ratio_counts_axes(pictures):
    assert participation_ratio(table_of(pictures, [5.0])) == pytest.approx(1.0)
    assert participation_ratio(table_of(pictures, [2.0, 2.0, 2.0])) == pytest.approx(3.0)
    assert participation_ratio(table_of(pictures, [2.0, 1.0])) == pytest.approx((4 + 1) ** 2 / (16 + 1))
    wide = table_of(pictures, [2.0, 1.0], genes=90)
    assert participation_ratio(wide) == pytest.approx((4 + 1) ** 2 / (16 + 1))
    assert np.isnan(participation_ratio(np.ones((5, 3))))


def test_counting_noise_adds_no_axes():
    rng = np.random.default_rng(5)
    regions, genes = 400, 40
    logs = rng.normal(size=(regions, 2)) @ rng.normal(size=(2, genes)) * 0.6
    shares = np.exp(logs)
    shares = 0.5 * shares / shares.sum(axis=1, keepdims=True)
    total = np.full(regions, 1500)
    counts = rng.multinomial(1500, np.column_stack([shares, 1 - shares.sum(axis=1)]))[:, :genes]
    truth = participation_ratio(np.log1p(1e4 * shares))
    noisy = participation_ratio(np.log1p(1e4 * counts / total[:, None]))
    assert participation_above_noise(counts, total) == pytest.approx(truth, rel=0.15)
    assert noisy > 1.3 * truth


def test_the_participation_above_noise_needs_whole_counts():
    with pytest.raises(DataError, match="Raw counts are needed"):
        participation_above_noise(np.full((4, 3), 0.5), np.full(4, 9.0))


def test_pairs_of_genes_agree_where_the_same_ones_go_together(pictures):
    first, second = pictures[:, :1], pictures[:, 1:2]
    truth = np.hstack([first, first, second, second])
    assert pair_agreement(truth, 5.0 - 2.0 * truth) == pytest.approx(1.0)
    swapped = truth[:, [0, 2, 1, 3]]
    assert pair_agreement(truth, swapped) == pytest.approx(-0.5)  # two of six pairs go together, none of them the same
    assert pair_agreement(truth, np.ones_like(truth)) == 0.0
    with_constant = np.hstack([truth, np.ones((60, 1))])
    assert pair_agreement(with_constant, np.hstack([truth, first])) == pytest.approx(1.0)
    assert np.isnan(pair_agreement(truth[:, :2], truth[:, :2]))
