from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from pixnet.errors import ModelError
from pixnet.expression import log_expectation
from pixnet.network.heads import Head, to_torch
from pixnet.network.losses import pearson_loss
from pixnet.training.batches import Batch
from pixnet.training.objective import Objective, log_normalised


def make_batch(regions: int = 30, genes: int = 4) -> Batch:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(2.0, 20.0, (regions, genes + 1))).astype(np.float32)
    total = counts.sum(1)
    values = np.log1p(1e4 * counts[:, :-1] / total[:, None]).astype(np.float32)
    return Batch(
        views=[],
        wants=[],
        coverage=to_torch(sparse.csr_array((regions, 4))),
        area=torch.ones(regions),
        counts=torch.from_numpy(counts),
        total=torch.from_numpy(total),
        values=torch.from_numpy(values),
        measured=torch.ones(regions, genes + 1),
        sample=torch.from_numpy(np.arange(regions) % 2),
        region=np.arange(regions),
    )


def guess(batch: Batch) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return (batch.counts + 1.0) * torch.empty_like(batch.counts).uniform_(0.5, 2.0, generator=rng)


def test_log_normalised_values_of_a_rate_are_expected_ones() -> None:
    batch, head = make_batch(), Head("rate", 3, 5)
    share = (batch.counts[:, :-1] / batch.total[:, None]).double().numpy()
    at_the_measured, at_seven_times = (log_expectation(share, k * batch.total.double().numpy()) for k in (1, 7))
    for k in (1.0, 7.0):
        found = log_normalised(k * batch.counts, head, batch.measured, batch.total)
        np.testing.assert_allclose(found, at_the_measured, atol=1e-4)
    np.testing.assert_allclose(log_normalised(7.0 * batch.counts, head, batch.measured), at_seven_times, atol=1e-4)
    mean = Head("mean", 3, 4)
    assert log_normalised(batch.values, mean, batch.measured) is batch.values


def test_what_was_not_measured_is_no_part_of_the_total() -> None:
    batch, head = make_batch(), Head("rate", 3, 5)
    measured = batch.measured.clone()
    measured[:, 1] = measured[:, 4] = 0.0
    total = (batch.counts * measured).sum(dim=1)
    found = log_normalised(batch.counts, head, measured, total)
    share = (batch.counts[:, :-1] / total[:, None]).double().numpy()
    np.testing.assert_allclose(found, log_expectation(share, total.double().numpy()), atol=1e-4)


@pytest.mark.parametrize("total", [None, 0.0, 1.0])
def test_regions_without_counts_do_no_harm(total: float | None) -> None:
    predicted = torch.zeros(3, 5)
    predicted[1:] = torch.tensor([[0.0, 1e-9, 1.0, 7.0, 30.0], [1e-12, 0.0, 0.0, 0.0, 0.0]])
    predicted.requires_grad_()
    found = log_normalised(
        predicted, Head("rate", 3, 5), torch.ones(3, 5), None if total is None else torch.full((3,), total)
    )
    found.sum().backward()
    assert predicted.grad is not None
    assert found.isfinite().all()
    assert predicted.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_the_papers_loss(training_config: Any, kind: str) -> None:
    batch = make_batch()
    batch.sample.zero_()
    predicted = batch.values + torch.randn(batch.values.shape, generator=torch.Generator().manual_seed(0))
    found = Objective(training_config(pcc_weight=0.5), 2, 4)(predicted, batch, Head(kind, 3, 4))  # type: ignore[arg-type]
    expected = (predicted - batch.values).square().mean() + 0.5 * pearson_loss(predicted, batch.values)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("loss", ["squared", "poisson", "negative-binomial"])
def test_the_first_term_has_a_weight(training_config: Any, loss: str) -> None:
    batch, head = make_batch(), Head("rate", 3, 5)
    predicted = guess(batch)
    batch.sample.zero_()
    none, half, whole = (
        Objective(training_config(loss=loss, loss_weight=weight), 2, 5)(predicted, batch, head).item()
        for weight in (0.0, 0.5, 1.0)
    )
    assert half == pytest.approx((none + whole) / 2, rel=1e-5)
    only = Objective(training_config(loss=loss, loss_weight=0.0, pcc_weight=0.0), 2, 5)(predicted, batch, head)
    values = log_normalised(predicted, head, batch.measured, batch.total)
    assert none - only.item() == pytest.approx(0.5 * float(pearson_loss(values, batch.values)), rel=1e-5)


def test_what_sets_samples_apart_is_not_learned(training_config: Any) -> None:
    """Of a sample with many regions in the batch nearly all of it is taken off, of one with a single region half."""
    batch, head = make_batch(300), Head("mean", 3, 4)
    batch.measured[::3, 1] = 0.0
    objective = Objective(training_config(pcc_weight=0.5), 2, 4)
    noise = 0.1 * torch.randn(batch.values.shape, generator=torch.Generator().manual_seed(0))
    apart = torch.tensor([1.0, -1.0])[batch.sample][:, None] * torch.tensor([0.5, 1.0, -2.0, 3.0])
    with torch.no_grad():
        near, far = (float(objective(batch.values + noise + shift, batch, head)) for shift in (0.0, apart))
        level = float(objective(batch.values + noise + 1.0, batch, head))
        batch.sample.zero_()
        blind = float(objective(batch.values + noise + apart, batch, head))
    assert near < 0.03
    assert far == pytest.approx(near, rel=0.05)
    assert level - near == pytest.approx(1.0, rel=0.2)  # the level of all is held
    assert blind > 3.0


def test_what_sets_samples_apart_is_learned_if_set(training_config: Any) -> None:
    batch, head = make_batch(300), Head("mean", 3, 4)
    apart = torch.tensor([1.0, -1.0])[batch.sample][:, None] * torch.tensor([0.5, 1.0, -2.0, 3.0])
    shifted = batch.values + apart
    on, off = (
        float(Objective(training_config(pcc_weight=0.0, within_samples=within), 2, 4)(shifted, batch, head))
        for within in (True, False)
    )
    assert on < 0.01
    assert off == pytest.approx(float(apart.square().mean()), rel=1e-4)


def test_a_sample_of_one_region_teaches(training_config: Any) -> None:
    batch, head = make_batch(12), Head("mean", 3, 4)
    batch.sample.copy_(torch.arange(12))
    objective = Objective(training_config(pcc_weight=0.0), 12, 4)
    error = torch.randn(batch.values.shape, generator=torch.Generator().manual_seed(0))
    error -= error.mean(0)
    found = float(objective(batch.values + error, batch, head))
    assert found == pytest.approx(float(error.square().mean()) / 4.0, rel=1e-4)


@pytest.mark.parametrize("loss", ["poisson", "negative-binomial"])
def test_count_losses_need_counts(training_config: Any, loss: str) -> None:
    batch = make_batch()
    with pytest.raises(ModelError, match="needs counts; set head = 'rate'"):
        Objective(training_config(loss=loss), 2, 4)(batch.values, batch, Head("mean", 3, 4))


@pytest.mark.parametrize("counts", ["share", "capture"])
def test_poisson_expectations(training_config: Any, counts: str) -> None:
    batch = make_batch()
    predicted = guess(batch)
    objective = Objective(training_config(loss="poisson", counts=counts, pcc_weight=0.0, depth_weight=0.7), 2, 5)
    with torch.no_grad():
        objective.log_capture.copy_(torch.tensor([0.3, -0.3]))
        found = float(objective(predicted, batch, Head("rate", 3, 5)))
    k = np.exp(np.where(batch.sample.numpy() == 0, 0.3, -0.3))[:, None]
    mean, observed = predicted.numpy().astype(np.float64), batch.counts.numpy()
    total = mean.sum(1, keepdims=True)
    expected = mean * k if counts == "capture" else batch.total.numpy()[:, None] * mean / total
    deviance = 2 * (stats.poisson.logpmf(observed, observed) - stats.poisson.logpmf(observed, expected)).mean()
    if counts == "share":
        # The total is held to what was measured, up to the sample's capture.
        deviance += 0.7 * np.square(np.log(total + 1) + np.log(k) - np.log(batch.total.numpy()[:, None] + 1)).mean()
    assert found == pytest.approx(deviance, rel=1e-4)


def test_a_share_does_not_see_the_predicted_depth(training_config: Any) -> None:
    """Never N times an integral that already carries depth."""
    batch = make_batch()
    predicted = guess(batch)
    objective = Objective(training_config(loss="poisson", counts="share", pcc_weight=0.0, depth_weight=0.7), 2, 5)
    head = Head("rate", 3, 5)
    with torch.no_grad():
        depths = [predicted.sum(1), 3.0 * predicted.sum(1)]
        held = [0.7 * (torch.log(d + 1) - torch.log(batch.total + 1)).square().mean() for d in depths]
        plain = [float(objective(f * predicted, batch, head) - h) for f, h in zip((1.0, 3.0), held, strict=True)]
    assert plain[0] == pytest.approx(plain[1], rel=1e-4)


@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_the_error_of_a_total_does_not_depend_on_shares_where_not_all_was_measured(
    training_config: Any, loss: str
) -> None:
    batch = make_batch()
    batch.measured[::2, 2:] = 0.0
    settings = training_config(loss=loss, loss_weight=0.0, pcc_weight=0.0, depth_weight=2.0)
    predicted = guess(batch).requires_grad_()
    found = Objective(settings, 2, 5)(predicted, batch, Head("rate", 3, 5))
    total = (predicted * batch.measured).sum(1)
    expected = 2.0 * (torch.log(total + 1) - torch.log(batch.total + 1)).square().mean()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    found.backward()
    # The same for all outputs of a region: only what they come to together can change it.
    assert predicted.grad is not None
    assert float(predicted.grad.abs().max()) > 1e-6
    assert torch.allclose(predicted.grad, predicted.grad[:, :1].expand_as(predicted))


def test_captures_are_relative(training_config: Any) -> None:
    batch = make_batch()
    predicted = guess(batch)
    objective = Objective(training_config(loss="poisson", counts="capture"), 2, 5)
    head = Head("rate", 3, 5)
    with torch.no_grad():
        objective.log_capture.copy_(torch.tensor([0.4, -0.2]))
        first = float(objective(predicted, batch, head))
        objective.log_capture.add_(5.0)
        assert float(objective(predicted, batch, head)) == pytest.approx(first, rel=1e-5)


def test_samples_of_unequal_capture_are_told_apart(training_config: Any) -> None:
    batch = make_batch()
    objective = Objective(training_config(loss="poisson", counts="capture", pcc_weight=0.0), 2, 5)
    predicted = batch.counts.clone()
    predicted[batch.sample == 0] /= 2.0  # sample 0 caught twice what the common rate says, sample 1 as much
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.05)
    for _ in range(80):
        optimiser.zero_grad()
        objective(predicted + 1e-3, batch, Head("rate", 3, 5)).backward()
        optimiser.step()
    with torch.no_grad():
        gap = float(objective.log_capture[0] - objective.log_capture[1])
    assert gap > 0.4


@pytest.mark.parametrize("loss", ["squared", "poisson", "negative-binomial"])
@pytest.mark.parametrize("counts", ["share", "capture"])
def test_every_loss_is_least_near_the_truth_and_has_gradients(training_config: Any, loss: str, counts: str) -> None:
    batch = make_batch()
    objective = Objective(training_config(loss=loss, counts=counts), 2, 5)
    head = Head("rate", 3, 5)
    truth = (batch.counts + 1e-3).requires_grad_()
    wrong = guess(batch).requires_grad_()
    good, bad = objective(truth, batch, head), objective(wrong, batch, head)
    assert good < bad
    bad.backward()
    assert wrong.grad is not None
    assert wrong.grad.isfinite().all()
    assert (wrong.grad != 0).any()


def test_few_counts_teach_the_share_itself(training_config: Any) -> None:
    """The mean logarithm of few counts is far below the logarithm of their mean; by how much depends on the total."""
    rng = np.random.default_rng(3)
    share, total = np.array([0.002, 0.01, 0.05]), np.exp(rng.uniform(np.log(100), np.log(5000), 4000)).round()
    counts = rng.poisson(share * total[:, None])
    values = np.log1p(1e4 * counts / total[:, None])
    counts = np.column_stack([counts, total - counts.sum(1)])
    batch = Batch(
        views=[],
        wants=[],
        coverage=to_torch(sparse.csr_array((4000, 4))),
        area=torch.ones(4000),
        counts=torch.from_numpy(np.asarray(counts, np.float32)),
        total=torch.from_numpy(np.asarray(total, np.float32)),
        values=torch.from_numpy(np.asarray(values, np.float32)),
        measured=torch.ones(4000, 4),
        sample=torch.zeros(4000, dtype=torch.long),
        region=np.arange(4000),
    )
    objective = Objective(training_config(pcc_weight=0.0, depth_weight=1.0), 1, 4)
    logits = torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        objective(1000.0 * torch.softmax(logits, 0).expand(4000, 4), batch, Head("rate", 3, 4)).backward()
        optimiser.step()
    np.testing.assert_allclose(torch.softmax(logits, 0).detach()[:3], share, rtol=0.05)
    assert np.expm1(values.mean(0))[0] / 1e4 < 0.5 * share[0]
