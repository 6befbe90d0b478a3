from __future__ import annotations

import math

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from pixnet.errors import DataError
from pixnet.expression import correlation, log_expectation, noise_estimate, normalise
from pixnet.readers.manifest import read_manifest
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel, choose_panel, panel_counts
from pixnet.sample.sample import enough_counts
from pixnet.slide import Slide


def make_sample(counts, genes, name="s"):
    counts = np.asarray(counts, np.float32)
    slide = Slide.from_array(np.full((50, 50, 3), 200, np.uint8), 1.0, name)
    centres = np.random.default_rng(0).uniform(10, 40, (len(counts), 2))
    rows = pd.DataFrame(index=[f"r{i}" for i in range(len(counts))])
    table = anndata.AnnData(sparse.csr_matrix(counts), obs=rows, var=pd.DataFrame(index=list(genes)))
    return Sample(name, slide, Disks(centres, 4.0), table)


def test_normalise_by_hand():
    counts = [[1, 0], [5, 10], [0, 0]]
    expected = [
        [math.log1p(1e4 / 4), 0],
        [math.log1p(1e4 * 5 / 40), math.log1p(1e4 * 10 / 40)],
        [0, 0],
    ]
    values = normalise(counts, [4, 40, 0])
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert np.array_equal(normalise(sparse.csr_matrix(counts), [4, 40, 0]), values)


def test_a_genes_value_does_not_depend_on_the_panel():
    sample = make_sample([[1, 2, 3], [4, 0, 6]], "ABC")
    for names in (("B",), ("C", "B"), ("A", "B", "C")):
        panel = GenePanel(names, "list")
        values = normalise(panel_counts(sample, panel), sample.depth)
        expected = [math.log1p(1e4 * 2 / 6), 0]
        np.testing.assert_allclose(values[:, names.index("B")], expected, rtol=1e-6)


def test_shapes_that_do_not_match():
    with pytest.raises(DataError, match="shape"):
        normalise([[1, 2]], [3, 4])
    with pytest.raises(DataError, match="shape"):
        normalise([1, 2], [3, 4])
    with pytest.raises(DataError, match="not finite"):
        normalise([[1, 2]], [np.nan])


def test_panel_rejects_duplicates_and_nothing():
    with pytest.raises(DataError, match="'B' more than once"):
        GenePanel(("A", "B", "B"), "list")
    with pytest.raises(DataError, match="empty"):
        GenePanel((), "list")


def test_top_mean_is_the_mean_over_all_regions_of_all_samples():
    # The mean of the samples' means of A is 5, as that of B; over all 4 regions A has 10 / 4, B has 22 / 4.
    first = make_sample([[10, 4, 1, 99]], "ABCD", "first")
    second = make_sample([[6, 0, 2]] * 3, ("B", "A", "C"), "second")
    for order in ([first, second], [second, first]):
        assert choose_panel(order, 2) == GenePanel(("B", "A"), "top-mean")
        assert choose_panel(order, 3).names == ("B", "A", "C")
    with pytest.raises(DataError, match="from 1 to 3"):
        choose_panel([first, second], 4)  # D was not measured in both


def test_ties_do_not_depend_on_the_order_of_samples():
    first, second = make_sample([[1, 1, 1]], "CAB", "first"), make_sample([[1, 1, 1]], "BCA", "second")
    assert choose_panel([first, second], 3).names == choose_panel([second, first], 3).names == ("A", "B", "C")


def test_regions_of_few_counts_do_not_change_the_highly_variable_genes():
    rng = np.random.default_rng(1)
    rate = rng.gamma(2.0, 10.0, 1000)
    counts = rng.poisson(rate, (80, 1000))
    variable = np.arange(5, 1000, 100)
    factor = np.where(rng.random((80, len(variable))) < 0.5, 0.2, 2.0)
    counts[:, variable] = rng.poisson(rate[variable] * factor)
    genes = [f"G{i}" for i in range(1000)]
    chosen = choose_panel([make_sample(counts, genes)], 10, "highly-variable")
    assert len({f"G{i}" for i in variable} & set(chosen.names)) == 10
    poor = np.vstack([counts, rng.poisson(0.2, (20, 1000))])
    assert choose_panel([make_sample(poor, genes)], 10, "highly-variable") == chosen


def test_a_list_of_genes_is_the_panel_and_checked():
    sample = make_sample([[1, 2, 3]], ("ERBB2", "ACTB", "KRT19"))
    assert choose_panel([sample], ["KRT19", "ERBB2"]) == GenePanel(("KRT19", "ERBB2"), "list")
    with pytest.raises(DataError, match=r"sample 's'.*'erbb' \(similar: ERBB2\)"):
        choose_panel([sample], ["erbb", "ACTB"])
    with pytest.raises(DataError, match="'ACTB' more than once"):
        choose_panel([sample], ["ACTB", "ACTB"])
    with pytest.raises(DataError, match="is the text"):
        choose_panel([sample], "ACTB")
    with pytest.raises(DataError, match="needs names"):
        choose_panel([sample], 2, "list")
    with pytest.raises(DataError, match="top-mean"):
        choose_panel([sample], 2, "best")
    with pytest.raises(DataError, match="do not share a gene"):
        choose_panel([sample, make_sample([[1]], ["X"])], 1)


def test_panel_counts_in_the_panels_order():
    sample = make_sample([[1, 2, 3], [4, 5, 6]], "ABC")
    values = panel_counts(sample, GenePanel(("C", "A"), "list"))
    assert values.dtype == np.float32
    assert np.array_equal(values, [[3, 1], [6, 4]])
    with pytest.raises(DataError, match=r"'Z'.*and 1 more"):
        panel_counts(sample, GenePanel(("Z", "Y", "X", "W"), "list"))
    assert np.array_equal(enough_counts(sample, 7), [False, True])
    assert np.array_equal(enough_counts(sample, 6), [True, True])


def test_correlation_is_pearsons():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 40, 5))
    b = b + a * np.linspace(-2, 2, 5) + 1e3
    expected = [stats.pearsonr(a[:, i], b[:, i]).statistic for i in range(5)]
    np.testing.assert_allclose(correlation(a, b), expected, rtol=1e-9)
    b[:, 0] = 0.1  # its mean is not exactly 0.1
    assert correlation(a, b)[0] == 0
    assert correlation(b, a)[0] == 0


def test_noise_estimate_agrees_with_the_attainable_correlation():
    """At these depths the estimate is within 0.02 of the attainable correlation on average, 0.08 for each gene."""
    rng = np.random.default_rng(3)
    n, g = 400, 60
    depth = rng.gamma(6.0, 1000.0, n)
    share = rng.dirichlet(np.full(g, 2.0)) * 0.5
    spread = rng.uniform(0.1, 1.0, g)
    shares = share * np.exp(spread * rng.normal(size=(n, g)))
    shares = np.hstack([shares, 1 - np.minimum(shares.sum(axis=1, keepdims=True), 0.9)])
    shares /= shares.sum(axis=1, keepdims=True)
    counts = rng.poisson(shares * depth[:, None])
    total = counts.sum(axis=1)
    estimate = noise_estimate(counts[:, :g], total)
    attainable = correlation(normalise(counts[:, :g], total), np.log1p(1e4 * shares[:, :g]))
    assert attainable.min() < 0.65
    assert attainable.max() > 0.95
    assert estimate.negative == 0
    assert abs(estimate.per_gene.mean() - attainable.mean()) < 0.02
    assert np.abs(estimate.per_gene - attainable).max() < 0.08
    again = noise_estimate(sparse.csr_matrix(counts[:, :g]), total)
    assert np.array_equal(again.per_gene, estimate.per_gene)


def test_noise_estimate_of_pure_noise_is_low_and_reported():
    rng = np.random.default_rng(4)
    counts = rng.poisson(3.0, (60, 100))
    counts[:, 0] = 0
    total = np.full(60, 2000)
    estimate = noise_estimate(counts, total)
    assert estimate.per_gene[0] == 0
    assert estimate.negative == (estimate.per_gene == 0).sum()
    assert 20 < estimate.negative < 80


def test_noise_estimate_needs_counts():
    with pytest.raises(DataError, match="whole numbers"):
        noise_estimate([[0.5, 1]], [3])
    with pytest.raises(DataError, match="at most the region's total"):
        noise_estimate([[2, 2]], [3])
    with pytest.raises(DataError, match="at least 1"):
        noise_estimate([[2, 2]], [5], splits=0)


def brute_force(mean, total):
    k = np.arange(0, int(mean + 40 * math.sqrt(mean) + 60))
    return float((stats.poisson.pmf(k, mean) * np.log1p(1e4 * k / total)).sum())


@pytest.mark.parametrize("total", [3.0, 500.0, 1700.0, 20000.0, 5e6])
def test_log_expectation_against_brute_force(total):
    means = np.array([1e-9, 1e-4, 0.03, 0.5, 1, 3, 10, 30, 49.9, 50, 50.1, 52, 70, 150, 1e3, 1e4])
    value = log_expectation(means[None] / total, [total])[0]
    expected = [brute_force(mean, total) for mean in means]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 400), st.floats(1, 1e6))
def test_log_expectation_anywhere(mean, total):
    value = log_expectation([[mean / total]], [total])[0, 0]
    assert value == pytest.approx(brute_force(mean, total), rel=1e-6, abs=1e-15)
    assert value <= math.log1p(1e4 * mean / total) * (1 + 1e-12)


def test_log_expectation_of_a_table_is_computed_per_entry():
    rng = np.random.default_rng(5)
    share = rng.dirichlet(np.full(40, 0.2), 3000)
    total = rng.integers(0, 4000, 3000).astype(float)
    table = log_expectation(share, total)
    rows = rng.integers(0, 3000, 30)
    alone = np.array([log_expectation(share[r, c][None, None], total[r][None])[0, 0] for r in rows for c in range(40)])
    np.testing.assert_allclose(table[rows].ravel(), alone, rtol=1e-9)
    assert (table[total == 0] == 0).all()
    assert log_expectation(np.zeros((0, 3)), []).shape == (0, 3)
    with pytest.raises(DataError, match="share"):
        log_expectation([[-0.1]], [1])


@pytest.mark.filterwarnings("ignore::pixnet.errors.PixNetWarning")  # C3 has positions without counts
def test_real_sections(shared):
    """C3, 250 genes: the noise estimate is about what method.md reports."""
    samples = read_manifest(shared / "data" / "her2st" / "samples.toml", ["C2", "C3"])
    panel = choose_panel(samples[:1], 250)
    assert len(panel) == 250
    sample = samples[1].take(enough_counts(samples[1], 500))
    counts = panel_counts(sample, panel)
    estimate = noise_estimate(counts, sample.depth)
    assert 0.55 < estimate.per_gene.mean() < 0.75
    values = normalise(counts, sample.depth)
    assert values.shape == (len(sample.regions), 250)
    assert np.expm1(values.astype(float)).sum(axis=1).max() <= 1e4


def test_genes_measured_in_one_sample_can_be_chosen():
    first, second = make_sample([[10, 4, 8]], "ABC", "first"), make_sample([[6, 20], [6, 20]], "BD", "second")
    assert choose_panel([first, second], 1).names == ("B",)
    # A 10, B (4 + 6 + 6) / 3, C 8, D 20: each over the regions of the samples that were measured for it.
    assert choose_panel([first, second], 4, measured_in="any").names == ("D", "A", "C", "B")
    assert choose_panel([first, second], ("A", "D")).names == ("A", "D")
    with pytest.raises(DataError, match="none of 2 samples was measured for 'E'"):
        choose_panel([first, second], ("A", "E"))
