from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pixnet.errors import DataError
from pixnet.scoring.metrics import correlation_given_depth, rank_correlation, score


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    observed = rng.normal(2.0, 1.0, (50, 9))
    return observed, observed * np.linspace(-0.5, 1.5, 9) + rng.normal(size=(50, 9))


def test_a_score_agrees_with_one_by_hand():
    result = score([[1.0, 0.0], [2.0, 0.0], [3.0, 3.0]], [[1.0, 1.0], [2.0, 0.0], [5.0, 0.0]])
    assert result["mse"] == pytest.approx((4 + 1 + 9) / 6)
    assert result["mae"] == pytest.approx((2 + 1 + 3) / 6)
    assert result["per_gene"][1] == pytest.approx(-0.5)
    assert (result["n_regions"], result["n_genes"]) == (3, 2)


def test_a_score_agrees_with_pandas_and_scipy(tables):
    observed, predicted = tables
    result = score(observed, predicted)
    per_gene = pd.DataFrame(observed).corrwith(pd.DataFrame(predicted)).to_numpy()
    np.testing.assert_allclose(result["per_gene"], per_gene, rtol=1e-9)
    assert result["per_gene"][3] == pytest.approx(stats.pearsonr(observed[:, 3], predicted[:, 3]).statistic)
    summary = pd.Series(per_gene).describe()
    assert result["pcc_f"] == pytest.approx(summary["25%"])
    assert result["pcc_s"] == pytest.approx(summary["50%"])
    assert result["pcc_m"] == pytest.approx(summary["mean"])


def test_genes_that_do_not_vary_are_left_out_or_count_as_zero(tables):
    observed, predicted = (table.copy() for table in tables)
    plain = score(observed, predicted)["per_gene"]
    observed[:, 0] = 0.1
    predicted[:, 1] = 0.1
    observed[:, 2] = predicted[:, 2] = 0.3
    result = score(observed, predicted)
    assert np.isnan(result["per_gene"][[0, 2]]).all()
    assert result["per_gene"][1] == 0
    assert (result["n_constant_observed"], result["n_constant_predicted"]) == (2, 1)
    assert result["pcc_m"] == pytest.approx((0 + plain[3:].sum()) / 7)


def test_a_table_in_which_nothing_varies_has_no_correlation():
    result = score(np.ones((4, 2)), np.zeros((4, 2)))
    assert result["mse"] == 1
    assert np.isnan([result["pcc_f"], result["pcc_s"], result["pcc_m"]]).all()


def test_tables_that_cannot_be_scored_are_refused():
    with pytest.raises(DataError, match="same shape"):
        score(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(DataError, match="at least two regions and one gene"):
        score(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(DataError, match="predicted: holds 1 values"):
        score(np.zeros((2, 2)), [[0, np.nan], [0, 0]])


def test_rank_correlation_is_spearmans(tables):
    observed, predicted = tables
    observed[:, 0], predicted[:, 1] = 0.1, 0.1
    observed[:10, 2] = observed[10, 2]  # ties
    found = rank_correlation(observed, predicted)
    expected = [stats.spearmanr(observed[:, gene], predicted[:, gene]).statistic for gene in range(2, 9)]
    np.testing.assert_allclose(found[2:], expected)
    assert np.isnan(found[0])
    assert found[1] == 0


def test_correlation_given_depth_is_the_partial_correlation(tables):
    observed, predicted = tables
    total = np.random.default_rng(1).lognormal(8.0, 1.0, 50)
    depth = np.log1p(total)
    observed, predicted = observed + depth[:, None], predicted + 2.0 * depth[:, None]
    found = correlation_given_depth(observed, predicted, total)
    for gene in range(9):
        # By the inverse of the covariance of all four variables.
        variables = np.stack([observed[:, gene], predicted[:, gene], depth, depth**2])
        inverse = np.linalg.inv(np.cov(variables))
        assert found[gene] == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]), rel=1e-6)
    assert (np.abs(found) < np.abs(score(observed, predicted)["per_gene"])).mean() > 0.5


def test_a_prediction_from_depth_alone_scores_zero_given_depth(tables):
    observed, _ = (table.copy() for table in tables)
    total = np.random.default_rng(1).lognormal(8.0, 1.0, 50)
    observed[:, 0] = 1.0
    observed[:, 1] = np.log1p(total)
    found = correlation_given_depth(observed, np.repeat(np.log1p(total)[:, None], 9, axis=1), total)
    assert np.isnan(found[0])
    np.testing.assert_array_equal(found[1:], 0.0)
    constant = np.repeat(observed.mean(axis=0)[None], 50, axis=0)
    np.testing.assert_array_equal(correlation_given_depth(observed, constant, total)[1:], 0.0)
