"""What holds for every baseline."""

from __future__ import annotations

import numpy as np
import pytest

from pixnet.config import Config
from pixnet.errors import DataError, ModelError
from pixnet.evaluation import baselines, methods
from pixnet.evaluation.splits import Split
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.panel import GenePanel
from pixnet.scoring.metrics import score


@pytest.fixture(scope="module")
def samples(board):
    return [board(seed, side=4) for seed in (1, 2, 3)]


def test_all_are_registered(small):
    assert sorted(methods.BASELINES) == sorted(small)
    assert ("pixnet", *methods.BASELINES) == methods.METHODS
    random = [name for name in methods.BASELINES if len(methods.seeds_of(name, [0, 1])) > 1]
    assert random == ["st-net", "istar"]
    for name in methods.BASELINES:
        assert methods.check_methods([name]) == [name]
        assert methods.method_version(name) == baselines.BASELINES[name].METHOD_VERSION >= 1


def test_held_out_counts_change_nothing_and_the_same_seed_repeats(
    name, small, samples, board, panel, tmp_path, monkeypatch
):
    monkeypatch.setitem(methods.BASELINES, name, small[name])
    test = board(9, side=3)
    other = np.random.default_rng(0).poisson(9.0, test.counts.matrix.shape).astype(np.float32)
    changed = Sample(test.id, test.slide, test.regions, Counts(other, test.genes))
    results = []
    for held_out in (test, changed):
        split = Split(samples[:2], [held_out])
        results.append(methods.run_method(name, split, panel, Config(), tmp_path, methods.Options()))
    (first,), chosen = results[0]
    (second,), chosen_again = results[1]
    np.testing.assert_array_equal(first, second)
    assert chosen == chosen_again
    assert first.shape == (9, 3)
    assert first.dtype == np.float32


def test_learns_what_colour_shows(name, small, samples, board, panel, observed):
    test = board(9, side=5)
    truth, places = observed(test), (test.slide, test.regions.centers_um)
    result = score(truth, small[name]().fit(samples, panel).predict(*places))
    mean = score(truth, small["mean"]().fit(samples, panel).predict(*places))
    if name == "mean":
        assert result["pcc_m"] == 0
        return
    assert result["per_gene"][:2].min() > 0.4
    if name != "hest-ridge":  # its penalty is almost zero
        assert result["mse"] < mean["mse"]


def test_the_density_is_learned_beside_the_genes(name, small, panel, board):
    # Redder squares hold more counts of all genes, which only the density shows.
    samples = [_denser_where_red(board(seed, side=6)) for seed in (1, 2, 3)]
    test = _denser_where_red(board(9, side=5))
    places = test.slide, test.regions.centers_um
    predicted = small[name]().fit(samples, panel, density=True).predict(*places)
    assert predicted.shape == (25, 4)
    truth = np.log1p(1e4 * test.depth / test.regions.areas_um2)
    assert abs(predicted[:, 3].mean() - truth.mean()) < 0.3
    if name == "mean":
        assert np.ptp(predicted[:, 3]) == 0
    else:
        assert np.corrcoef(predicted[:, 3], truth)[0, 1] > 0.4
    if name in ("mean", "colour-ridge", "ridge", "knn"):  # genes differ only by the choice, made for all columns
        alone = small[name]().fit(samples, panel).predict(*places)
        assert alone.shape == (25, 3)
        assert np.corrcoef(predicted[:, :3].ravel(), alone.ravel())[0, 1] > 0.99


def _denser_where_red(sample):
    counts = sample.counts.matrix.toarray()
    red = counts[:, 0] / counts.sum(axis=1)
    times = 1 + np.round(5 * red / red.max())
    return Sample(sample.id, sample.slide, sample.regions, Counts(counts * times[:, None], sample.genes))


def test_a_single_sample_is_enough(name, small, samples, panel):
    test = samples[1]
    predicted = small[name]().fit(samples[:1], panel).predict(test.slide, test.regions.centers_um[:3])
    assert predicted.shape == (3, 3)
    assert np.isfinite(predicted).all()


def test_poor_regions_are_left_out_of_training(name, small, samples, panel):
    first = samples[0]
    matrix = first.counts.matrix.toarray()
    matrix[:4] = [3, 0, 0, 0]  # all RED, at three counts
    spoilt = Sample(first.id, first.slide, first.regions, Counts(matrix, first.genes))
    clean = first.take(np.arange(4, 16))
    points = samples[1].regions.centers_um[:5]
    expected = small[name]().fit([clean], panel).predict(samples[1].slide, points)
    predicted = small[name]().fit([spoilt], panel).predict(samples[1].slide, points)
    np.testing.assert_allclose(predicted, expected, atol=1e-4)


def test_errors(name, small, samples, panel):
    slide = samples[0].slide
    with pytest.raises(ModelError, match="call fit"):
        small[name]().predict(slide, [[0.0, 0.0]])
    with pytest.raises(DataError, match="lower min_counts"):
        small[name]().fit(samples, panel, min_counts=10**7)
    with pytest.raises(DataError, match="GREEN"):
        small[name]().fit(samples, GenePanel(("RED", "GREEN"), "list"))
    if name != "mean":
        with pytest.raises(DataError, match=rf"{name} needs at least 8"):
            small[name]().fit([samples[0].take([0, 1, 2])], panel)


def test_no_points_give_no_rows(name, small, samples, panel):
    model = small[name]().fit([samples[0].take(np.arange(12))], panel)
    assert model.predict(samples[1].slide, np.empty((0, 2))).shape == (0, 3)
