from __future__ import annotations

import numpy as np

from pixnet.evaluation.baselines.base import TrainingRows
from pixnet.evaluation.baselines.inner_folds import inner_folds, inner_scores, quarters
from pixnet.regions import Disks
from pixnet.slide import Slide


def make_rows(*numbers, donors=None, seed=0):
    rng = np.random.default_rng(seed)
    slide = Slide.from_array(np.zeros((9, 9, 3), np.uint8), 100.0)
    regions = [Disks(rng.random((n, 2)), 1.0) for n in numbers]
    owner = np.repeat(np.arange(len(numbers)), numbers)
    return TrainingRows(
        [slide] * len(numbers),
        regions,
        rng.normal(size=(sum(numbers), 3)),
        owner,
        list(donors or [None] * len(numbers)),
    )


def test_quarters_are_of_equal_number_and_in_one_piece():
    centres = np.random.default_rng(0).random((41, 2))
    block = quarters(centres)
    assert sorted(np.bincount(block)) == [10, 10, 10, 11]
    assert centres[block < 2, 0].max() < centres[block >= 2, 0].min()
    for left in (0, 2):
        assert centres[block == left, 1].max() < centres[block == left + 1, 1].min()


def test_folds_are_donors():
    rows = make_rows(3, 2, 4, 1, donors=["P", "Q", "P", None])
    np.testing.assert_array_equal(inner_folds(rows), [0] * 3 + [1] * 2 + [0] * 4 + [2])
    # A donor none of whose regions has enough counts is none: what is left is of one, and samples are the folds.
    np.testing.assert_array_equal(inner_folds(make_rows(3, 0, 5, donors=["P", "Q", "P"])), [0] * 3 + [1] * 5)


def test_folds_are_samples_or_quarters():
    for donors in ("PPP", None):
        np.testing.assert_array_equal(inner_folds(make_rows(3, 0, 5, donors=donors)), [0] * 3 + [1] * 5)
    assert len(np.unique(inner_folds(make_rows(12)))) == 4
    assert len(np.unique(inner_folds(make_rows(0, 12)))) == 4


def test_scores_are_of_the_regions_left_out():
    rows = make_rows(10, 12)
    seen = []

    def guesses(left_out):
        seen.append(left_out)
        yield rows.values[left_out]
        yield -rows.values[left_out]
        yield np.zeros_like(rows.values[left_out])

    np.testing.assert_allclose(inner_scores(rows, guesses), [1.0, -1.0, 0.0], atol=1e-12)
    np.testing.assert_array_equal(np.sum(seen, axis=0), 1)
