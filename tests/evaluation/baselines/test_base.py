from __future__ import annotations

import numpy as np

from pixnet.evaluation.baselines.base import training_rows


def test_sample_after_sample(samples, panel, observed):
    parts = [samples[0].take([3, 1]), samples[1].take(np.arange(10))]
    rows = training_rows(parts, panel, 500, "this test")
    np.testing.assert_array_equal(rows.owner, [0] * 2 + [1] * 10)
    np.testing.assert_allclose(rows.values, np.concatenate([observed(s) for s in parts]))
    np.testing.assert_array_equal(rows.centers_um, np.concatenate([s.regions.centers_um for s in parts]))
    seen = rows.described(lambda slide, points: np.column_stack([points, np.full(len(points), slide.name)]))
    np.testing.assert_array_equal(seen[:, 2], [samples[0].slide.name] * 2 + [samples[1].slide.name] * 10)


def test_the_density_is_one_column_more(samples, panel):
    parts = [samples[0].take([3, 1]), samples[1].take(np.arange(10))]
    genes = training_rows(parts, panel, 500, "this test").values
    values = training_rows(parts, panel, 500, "this test", density=True).values
    np.testing.assert_array_equal(values[:, :-1], genes)
    per_um2 = np.concatenate([s.depth / s.regions.areas_um2 for s in parts])
    np.testing.assert_allclose(values[:, -1], np.log1p(1e4 * per_um2), rtol=1e-6)
