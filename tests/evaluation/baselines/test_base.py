from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pixnet.errors import DataError
from pixnet.evaluation.baselines import MeanBaseline
from pixnet.evaluation.baselines.base import (
    Standardiser,
    TrainingRows,
    best,
    inner_folds,
    inner_scores,
    training_rows,
)
from pixnet.regions import Disks
from pixnet.slide import Slide


def test_sample_after_sample(samples, panel, observed):
    parts = [samples[0].take([3, 1]), samples[1].take(np.arange(10))]
    rows = training_rows(parts, panel, 500)
    np.testing.assert_array_equal(rows.owner, [0] * 2 + [1] * 10)
    np.testing.assert_allclose(rows.values, np.concatenate([observed(s) for s in parts]))
    np.testing.assert_array_equal(rows.centers_um, np.concatenate([s.regions.centers_um for s in parts]))
    seen = rows.described(lambda slide, points: np.column_stack([points, np.full(len(points), slide.name)]))
    np.testing.assert_array_equal(seen[:, 2], [samples[0].slide.name] * 2 + [samples[1].slide.name] * 10)


def test_the_density_is_one_column_more(samples, panel):
    parts = [samples[0].take([3, 1]), samples[1].take(np.arange(10))]
    genes = training_rows(parts, panel, 500).values
    values = training_rows(parts, panel, 500, density=True).values
    np.testing.assert_array_equal(values[:, :-1], genes)
    per_um2 = np.concatenate([s.depth / s.regions.areas_um2 for s in parts])
    np.testing.assert_allclose(values[:, -1], np.log1p(1e4 * per_um2), rtol=1e-6)


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


def test_folds_are_donors():
    rows = make_rows(3, 2, 4, 1, donors=["P", "Q", "P", None])
    np.testing.assert_array_equal(inner_folds(rows), [0] * 3 + [1] * 2 + [0] * 4 + [2])
    # A donor without a region of enough counts does not count: one donor is left, so samples are the folds.
    np.testing.assert_array_equal(inner_folds(make_rows(3, 0, 5, donors=["P", "Q", "P"])), [0] * 3 + [1] * 5)


def test_folds_are_samples_or_quarters():
    for donors in ("PPP", None):
        np.testing.assert_array_equal(inner_folds(make_rows(3, 0, 5, donors=donors)), [0] * 3 + [1] * 5)
    assert len(np.unique(inner_folds(make_rows(12)))) == 4
    assert len(np.unique(inner_folds(make_rows(0, 12)))) == 4


def test_scores_are_of_the_regions_left_out():
    rows = make_rows(10, 12)
    seen = []

    def predictions(left_out):
        seen.append(left_out)
        yield rows.values[left_out]
        yield -rows.values[left_out]
        yield np.zeros_like(rows.values[left_out])

    scores = inner_scores(rows, ("equal", "opposite", "zero"), predictions)
    assert scores == pytest.approx({"equal": 1.0, "opposite": -1.0, "zero": 0.0}, abs=1e-12)
    assert best(scores) == "equal"
    assert best({"first": 0.5, "second": 0.5}) == "first"
    np.testing.assert_array_equal(np.sum(seen, axis=0), 1)


def test_variance_one_and_equal_groups():
    x = np.random.default_rng(0).normal(5, [1, 2, 3, 4], (50, 4)).astype(np.float32)
    x[:, 3] = 0.1
    plain = Standardiser(x)(x)
    np.testing.assert_allclose(plain.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(plain.std(axis=0), [1, 1, 1, 0], atol=1e-6)
    grouped = Standardiser(x, (1, 3))(x)
    np.testing.assert_allclose((grouped**2).sum(axis=0) / 50, [1, 1 / 3, 1 / 3, 0], atol=1e-6)


def test_choices_are_the_public_numbers_and_words():
    model = MeanBaseline()
    assert model.choices() == {}
    model.penalty, model.space, model.scores, model.later, model._mean = 0.5, "whitened", {1: 2.0}, float("nan"), 3.0
    assert model.choices() == {"penalty": 0.5, "space": "whitened"}


@pytest.mark.parametrize(
    ("points", "problem"), [([1.0, 2.0], r"shape \(2,\)"), ([[np.inf, 0.0]], "NaN or infinity")], ids=["flat", "inf"]
)
def test_points_are_checked(samples, panel, points, problem):
    model = MeanBaseline().fit(samples, panel)
    with pytest.raises(DataError, match=f"centers_um must be finite numbers .* got {problem}"):
        model.predict(samples[0].slide, points)


def test_torch_is_not_imported_before_a_network_is_needed():
    code = "import sys, pixnet.evaluation.baselines; print({'torch', 'timm', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "set()"
