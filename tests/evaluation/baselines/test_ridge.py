from __future__ import annotations

import numpy as np
import pytest

from pixnet.evaluation.baselines import MeanBaseline, RidgeBaseline
from pixnet.evaluation.baselines.eigen_ridge import PENALTIES
from pixnet.evaluation.scoring.metrics import score
from pixnet.readers.manifest import read_manifest
from pixnet.sample.panel import choose_panel
from pixnet.sample.sample import enough_counts

COARSE = 2.0


def test_recovers_what_colour_tells(samples, board, panel, observed):
    test = board(9)
    model = RidgeBaseline(COARSE).fit(samples, panel)
    result = score(observed(test), model.predict(test.slide, test.regions.centers_um))
    mean = score(observed(test), MeanBaseline().fit(samples, panel).predict(test.slide, test.regions.centers_um))
    assert result["per_gene"][:2].min() > 0.95
    assert result["mse"] < 0.15 * mean["mse"]
    assert model.penalty in PENALTIES
    assert model.penalty == max(model.validation_scores, key=lambda penalty: model.validation_scores[penalty])


def test_one_sample_is_tuned_on_blocks(samples, panel, observed):
    model = RidgeBaseline(COARSE).fit(samples[:1], panel)
    test = samples[1]
    assert score(observed(test), model.predict(test.slide, test.regions.centers_um))["per_gene"][:2].min() > 0.85


def test_the_order_of_held_out_regions_means_nothing(samples, board):
    """Shuffling the held-out regions changes neither panel nor penalty, and shuffles the predictions alike."""
    test = board(8)
    order = np.random.default_rng(0).permutation(len(test.regions))
    results = []
    for held_out in (test, test.take(order)):
        train = [s for s in (*samples, held_out) if s is not held_out]
        panel = choose_panel(train, 3)
        model = RidgeBaseline(COARSE).fit(train, panel)
        results.append((panel, model.penalty, model.validation_scores))
        results.append(model.predict(held_out.slide, held_out.regions.centers_um))
    assert results[0] == results[2]
    np.testing.assert_allclose(results[1][order], results[3], atol=1e-4)


@pytest.mark.filterwarnings("ignore::pixnet.errors.PixNetWarning")  # positions without counts
def test_on_a_real_section(shared, observed):
    """Trained on C2 at 1 um per pixel, ridge beats the mean on C3 by far more than chance."""
    train, test = read_manifest(shared / "data" / "her2st" / "samples.toml", ["C2", "C3"])
    test = test.take(enough_counts(test, 500))
    panel = choose_panel([train], 250)
    centres, truth = test.regions.centers_um, observed(test, panel)
    mean = score(truth, MeanBaseline().fit([train], panel).predict(test.slide, centres))
    ridge = score(truth, RidgeBaseline(1.0).fit([train], panel).predict(test.slide, centres))
    assert mean["pcc_m"] == 0
    assert mean["n_constant_predicted"] == 250 - mean["n_constant_observed"]
    assert ridge["pcc_m"] > 0.2
