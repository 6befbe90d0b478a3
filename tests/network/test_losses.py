from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from pixnet.network.losses import negative_binomial_loss, pearson_loss, poisson_loss, squared_loss


def data(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_pearson_against_numpy() -> None:
    predicted, observed = data(0, 40, 6), data(1, 40, 6)
    observed[:, :3] += 2 * predicted[:, :3]
    r = [np.corrcoef(predicted[:, g].numpy(), observed[:, g].numpy())[0, 1] for g in range(6)]
    assert float(pearson_loss(predicted, observed)) == pytest.approx(1 - np.mean(r), abs=1e-5)
    assert float(pearson_loss(observed, observed)) == pytest.approx(0.0, abs=1e-5)
    assert float(pearson_loss(-observed, observed)) == pytest.approx(2.0, abs=1e-5)


def test_pearson_does_not_care_for_scale_and_place() -> None:
    predicted, observed = data(0, 40, 6), data(1, 40, 6)
    moved = predicted * torch.tensor([1.0, 2.0, 5.0, 0.5, 10.0, 3.0]) + 7.0
    assert float(pearson_loss(moved, observed)) == pytest.approx(float(pearson_loss(predicted, observed)), abs=1e-4)


@pytest.mark.parametrize("constant", ["predicted", "observed", "both"])
def test_pearson_has_a_finite_gradient_where_nothing_varies(constant: str) -> None:
    predicted, observed = data(0, 12, 4), data(1, 12, 4)
    if constant != "observed":
        predicted[:, 1:] = 3.0
    if constant != "predicted":
        observed[:, 1:] = 2.0
    predicted.requires_grad_()
    loss = pearson_loss(predicted, observed)
    loss.backward()
    assert loss.isfinite()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()


def test_genes_that_were_not_seen_to_vary_are_left_out() -> None:
    predicted, observed = data(0, 30, 4), data(1, 30, 4)
    observed[:, 2] = 1.5
    varying = [0, 1, 3]
    expected = float(pearson_loss(predicted[:, varying], observed[:, varying]))
    assert float(pearson_loss(predicted, observed)) == pytest.approx(expected, abs=1e-6)
    assert float(pearson_loss(predicted, torch.ones(30, 4))) == 0.0


def test_a_prediction_that_does_not_vary_yet_can_start_to() -> None:
    predicted, observed = torch.zeros(12, 2).requires_grad_(), data(1, 12, 2)
    pearson_loss(predicted, observed).backward()
    assert predicted.grad is not None
    assert (predicted.grad != 0).any()


def test_pearson_of_a_single_region_is_no_nan() -> None:
    assert float(pearson_loss(data(0, 1, 3), data(1, 1, 3))) == 0.0


def test_poisson_deviance_against_scipy() -> None:
    rng = np.random.default_rng(0)
    mean = rng.uniform(0.01, 30.0, (50, 7))
    counts = rng.poisson(mean)
    assert (counts == 0).any()
    deviance = 2 * (stats.poisson.logpmf(counts, counts) - stats.poisson.logpmf(counts, mean))
    found = poisson_loss(torch.tensor(mean).float(), torch.tensor(counts).float())
    assert float(found) == pytest.approx(deviance.mean(), rel=1e-5)
    perfect = torch.tensor(counts).float()
    assert float(poisson_loss(perfect, perfect)) == pytest.approx(0.0, abs=1e-5)


def test_negative_binomial_against_scipy() -> None:
    rng = np.random.default_rng(0)
    mean, theta = rng.uniform(0.01, 30.0, (50, 7)), rng.uniform(0.3, 20.0, 7)
    counts = rng.negative_binomial(theta, theta / (theta + mean))
    expected = -stats.nbinom.logpmf(counts, theta, theta / (theta + mean)).mean()
    found = negative_binomial_loss(*(torch.tensor(a).float() for a in (mean, counts, theta)))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_a_large_dispersion_makes_the_negative_binomial_poisson() -> None:
    rng = np.random.default_rng(0)
    mean = rng.uniform(0.5, 9.0, (50, 7))
    counts = rng.poisson(mean)
    found = negative_binomial_loss(torch.tensor(mean), torch.tensor(counts).double(), torch.full((7,), 1e6).double())
    assert float(found) == pytest.approx(-stats.poisson.logpmf(counts, mean).mean(), rel=1e-4)


@pytest.mark.parametrize("expected", [0.0, 1e-12, 1e6])
def test_count_losses_and_gradients_are_finite_at_the_ends(expected: float) -> None:
    mean = torch.full((4, 3), expected).requires_grad_()
    counts = torch.tensor([[0.0, 1.0, 500.0]]).expand(4, 3)
    log_dispersion = torch.full((3,), 2.0).requires_grad_()
    loss = poisson_loss(mean, counts) + negative_binomial_loss(mean, counts, log_dispersion.exp())
    loss.backward()
    assert loss.isfinite()
    for value in (mean.grad, log_dispersion.grad):
        assert value is not None
        assert value.isfinite().all()


def test_count_losses_are_least_at_the_truth() -> None:
    rng = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((4000, 1), 6.0), generator=rng)
    theta = torch.full((1,), 50.0)
    means = [2.0, 4.0, 6.0, 8.0, 12.0]
    for loss in (poisson_loss, lambda m, c: negative_binomial_loss(m, c, theta)):
        values = [float(loss(torch.full_like(counts, mean), counts)) for mean in means]
        assert int(np.argmin(values)) == 2


def test_squared() -> None:
    predicted, observed = data(0, 5, 4), data(1, 5, 4)
    expected = np.mean((predicted.numpy() - observed.numpy()) ** 2)
    assert float(squared_loss(predicted, observed)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [pearson_loss, poisson_loss, squared_loss])
def test_what_was_not_measured_plays_no_part(loss: Callable[..., torch.Tensor]) -> None:
    predicted, observed = data(0, 40, 3).exp(), data(1, 40, 3).exp()
    measured = torch.ones(40, 3)
    measured[20:, 1] = 0
    measured[:, 2] = 0
    spoilt = observed.clone()
    spoilt[measured == 0] = 1e3
    clean = float(loss(predicted, observed, measured))
    assert float(loss(predicted, spoilt, measured)) == pytest.approx(clean, rel=1e-6)
    gene_0, gene_1 = loss(predicted[:, :1], observed[:, :1]), loss(predicted[:20, 1:2], observed[:20, 1:2])
    # Pearson is a mean over genes, the others over entries. A gene that nobody measured does not count.
    weight = 0.5 if loss is pearson_loss else 40 / 60
    assert clean == pytest.approx(weight * float(gene_0) + (1 - weight) * float(gene_1), rel=1e-4)
    all_measured = torch.ones(40, 3)
    assert float(loss(predicted, observed, all_measured)) == pytest.approx(float(loss(predicted, observed)), rel=1e-5)
