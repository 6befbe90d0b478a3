from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixnet.features.store import StoredFeatures
from pixnet.features.views import View
from pixnet.network.network import Network
from pixnet.training import loop
from pixnet.training.batches import Batcher
from pixnet.training.checkpoint import load_checkpoint
from pixnet.training.config import TrainingConfig
from pixnet.training.features import boxes_around
from pixnet.training.loop import History, Stage, Trainer, learning_rate_factor, mean_correlation, predict_regions
from pixnet.training.targets import Targets, split


class Bench:
    """A frozen encoder's features, computed once, and a network that always starts the same."""

    def __init__(self, targets: list[Targets], folder: Path, network_config: Any) -> None:
        self.config, self.targets = network_config(), targets
        torch.manual_seed(0)
        network = Network(self.config, 13)
        network.head.scale.copy_(torch.from_numpy(np.mean([t.dense()[0].mean(0) for t in targets], axis=0) / 706.0))
        self.start = {name: value.clone() for name, value in network.state_dict().items()}
        self.network = network
        self.cache = StoredFeatures(network, folder)
        self.views = {}
        for target in targets:
            self.views[target.sample.id] = [View(target.sample.slide, network.lattice(target.sample.slide))]
            view = self.views[target.sample.id][0]
            self.cache.prepare(view, boxes_around(target.regions, view, 72))
        training, validation = split(targets, "block", 0)
        self.training, self.validation = self.batcher(training), self.batcher(validation)
        with torch.no_grad():
            batch = self.training.draw(16, np.random.default_rng(0))
            network.decoder.learn_scale([self.cache.crops(batch.views, batch.wants)], [batch.wants])
        self.start = {name: value.clone() for name, value in network.state_dict().items()}

    def batcher(self, part: list[Targets]) -> Batcher:
        return Batcher(part, [self.views[t.sample.id] for t in part], 4.0, 4, 64.0)

    def run(
        self, config: TrainingConfig, *, steps: int | None = None, held: bool = False, checkpoint: Path | None = None
    ) -> tuple[dict[str, torch.Tensor], History]:
        self.network.load_state_dict(self.start)
        history = self.trainer(config, Stage("fit", steps or config.steps, checkpoint), held).run()
        return {name: value.clone() for name, value in self.network.state_dict().items()}, history

    def trainer(self, config: TrainingConfig, stage: Stage, held: bool) -> Trainer:
        validation = self.validation if held else None
        return Trainer(self.network, self.cache, self.training, validation, config, stage)


@pytest.fixture(scope="module")
def bench(targets: list[Targets], tmp_path_factory: pytest.TempPathFactory, network_config: Any) -> Bench:
    return Bench(targets[:2], tmp_path_factory.mktemp("features"), network_config)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_head_learns_at_a_rate_of_its_own(bench: Bench, training_config: Any) -> None:
    """The first step of Adam moves a weight by the learning rate, whatever its gradient."""
    parameters = dict(bench.network.named_parameters())
    for factor in (1.0, 5.0):
        config = training_config(head_lr=factor, ema=0.0, warmup=0, weight_decay=0.0)
        after, _ = bench.run(config, steps=1)
        moved = {name: (after[name] - bench.start[name]).abs().max().item() for name in parameters}
        of_decoder = max(moved[name] for name in parameters if name.startswith("decoder."))
        assert moved["head.loadings"] == pytest.approx(factor * config.lr, rel=0.02)
        assert of_decoder == pytest.approx(config.lr, rel=0.02)


@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_totals_teach_the_density_alone(bench: Bench, training_config: Any, loss: str) -> None:
    options: dict[str, Any] = {"loss": loss, "weight_decay": 0.0, "pcc_weight": 0.0, "ema": 0.0}
    names = [name for name, _ in bench.network.named_parameters() if not name.startswith("encoder.")]
    gradients = []
    for weights in ({"loss_weight": 0.0, "depth_weight": 2.0}, {"loss_weight": 1.0, "depth_weight": 0.0}):
        bench.network.load_state_dict(bench.start)
        bench.run(training_config(**options, **weights), steps=1)
        largest: dict[str, float] = {}
        for name, parameter in bench.network.named_parameters():
            if name in names and parameter.grad is not None:
                part = "density" if ".density." in name else name
                largest[part] = max(largest.get(part, 0.0), float(parameter.grad.abs().max()))
        gradients.append(largest)
    totals, shares = gradients
    assert totals["density"] > 1e-3
    # The baseline outside the programs is part of the total too.
    others = [name for name in totals if name not in ("density", "head.baseline")]
    assert max(totals[name] for name in others) < 1e-4 * totals["density"]
    assert shares["head.loadings"] > 1e-4
    assert max(size for name, size in shares.items() if name.startswith("decoder.")) > 1e-4


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(bench: Bench, training_config: Any) -> None:
    first, history = bench.run(training_config())
    torch.manual_seed(99)  # whatever happened before
    torch.rand(5)
    again, _ = bench.run(training_config())
    other, _ = bench.run(training_config(seed=1))
    assert same(first, again)
    assert not same(first, other)
    assert all(value.isfinite().all() for value in first.values())
    assert [row["step"] for row in history.rows] == [2, 4, 6]
    assert not bench.network.training


def test_the_encoder_does_not_change(bench: Bench, training_config: Any) -> None:
    state, _ = bench.run(training_config())
    for name, value in state.items():
        if name.startswith(("encoder.", "head.scale", "head.offset")):
            assert torch.equal(value, bench.start[name]), name
    trained = [name for name, _ in bench.network.named_parameters() if not name.startswith("encoder.")]
    moved = [name for name in trained if not torch.equal(state[name], bench.start[name])]
    assert len(moved) > 0.8 * len(trained)


def test_the_loss_goes_down(bench: Bench, training_config: Any) -> None:
    config = training_config(steps=40, evaluate_every=10, lr=5e-3, tiles=8)
    _, history = bench.run(config)
    losses = [float(row["loss"]) for row in history.rows]
    assert losses[-1] < 0.95 * losses[0]
    with torch.no_grad():
        predicted, observed = predict_regions(bench.network, bench.cache, bench.training, 16)
    assert mean_correlation(observed, predicted) > 0.1


@pytest.mark.parametrize("stop", [2, 5])
def test_a_run_that_stopped_goes_on_as_if_it_had_not(
    bench: Bench, training_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    config = training_config()
    whole, history = bench.run(config, held=True)
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1.0)  # a checkpoint after each step
    bench.network.load_state_dict(bench.start)

    def report(stage: str, done: int, total: int, so_far: History) -> None:
        if done == stop + 1:
            raise KeyboardInterrupt

    stage = Stage("fit", config.steps, tmp_path / "fit.ckpt", report)
    with pytest.raises(KeyboardInterrupt):
        bench.trainer(config, stage, held=True).run()
    assert load_checkpoint(tmp_path / "fit.ckpt", {})["step"] == stop
    resumed, after = bench.run(config, held=True, checkpoint=tmp_path / "fit.ckpt")
    assert same(whole, resumed)
    assert after.rows == history.rows
    assert (after.best_step, after.best_score) == (history.best_step, history.best_score)
    # A finished run is not trained any further.
    finished, _ = bench.run(config, held=True, checkpoint=tmp_path / "fit.ckpt")
    assert same(whole, finished)


def test_the_weights_of_the_best_validation_step_are_kept(bench: Bench, training_config: Any) -> None:
    config = training_config(steps=12, evaluate_every=1, patience=12, lr=0.05)
    state, history = bench.run(config, held=True)
    scores = [float(row["pcc_m"]) for row in history.rows]
    assert history.best_step == int(np.argmax(scores)) + 1
    assert history.best_score == max(scores)
    # Validation draws no randomness, so a run to that step alone ends in the same weights.
    alone, _ = bench.run(config, steps=history.best_step)
    assert same(state, alone)
    with torch.no_grad():
        bench.network.load_state_dict(state)
        predicted, observed = predict_regions(bench.network, bench.cache, bench.validation, 8)
    assert mean_correlation(observed, predicted) == pytest.approx(history.best_score, abs=1e-6)


def test_training_stops_where_nothing_is_gained(
    bench: Bench, training_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.25, 0.9])
    monkeypatch.setattr(Trainer, "_validate", lambda *_: {"pcc_m": next(scores), "mse": 1.0})
    config = training_config(steps=20, evaluate_every=1, patience=3)
    state, history = bench.run(config, held=True, checkpoint=tmp_path / "fit.ckpt")
    assert [row["pcc_m"] for row in history.rows] == [0.1, 0.3, 0.2, 0.3, 0.25]
    assert history.best_step == 2
    resumed, after = bench.run(config, held=True, checkpoint=tmp_path / "fit.ckpt")
    assert same(state, resumed)
    assert after.rows == history.rows


def test_without_a_running_mean_the_last_weights_are_kept(bench: Bench, training_config: Any) -> None:
    last, _ = bench.run(training_config(ema=0.0))
    mean, _ = bench.run(training_config(ema=0.9))
    assert not same(last, mean)
    assert all(value.isfinite().all() for value in mean.values())


def test_the_schedule_rises_and_falls(training_config: Any) -> None:
    config = training_config(steps=40, warmup=10)
    rates = [learning_rate_factor(step, config) for step in range(40)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.0 < rates[-1] < 0.1
    assert all(math.isfinite(learning_rate_factor(step, training_config(steps=3, warmup=5))) for step in range(3))


@pytest.mark.parametrize("loss", ["squared", "poisson", "negative-binomial"])
@pytest.mark.parametrize("counts", ["share", "capture"])
def test_every_loss_trains(bench: Bench, training_config: Any, loss: str, counts: str) -> None:
    state, history = bench.run(training_config(steps=3, loss=loss, counts=counts), held=True)
    assert all(value.isfinite().all() for value in state.values())
    assert all(math.isfinite(float(row["loss"])) for row in history.rows)


def test_a_prediction_knows_nothing_of_the_measured_total(bench: Bench) -> None:
    bench.network.load_state_dict(bench.start)
    parts = bench.validation.targets
    deeper = bench.batcher([dataclasses.replace(part, panel=9 * part.panel, total=9 * part.total) for part in parts])
    plain, scaled = (predict_regions(bench.network, bench.cache, one, 8) for one in (bench.validation, deeper))
    np.testing.assert_array_equal(plain[0], scaled[0])


def test_predictions_are_in_the_order_of_the_regions(bench: Bench) -> None:
    bench.network.load_state_dict(bench.start)
    with torch.no_grad():
        few = predict_regions(bench.network, bench.cache, bench.validation, 3)
        many = predict_regions(bench.network, bench.cache, bench.validation, 50)
    assert np.array_equal(few[1], np.concatenate([t.dense()[1] for t in bench.validation.targets]))
    assert np.array_equal(few[1], many[1])
    assert np.allclose(few[0], many[0], rtol=1e-4, atol=1e-4)


def test_mean_correlation_against_numpy() -> None:
    rng = np.random.default_rng(0)
    observed, predicted = (rng.normal(size=(30, 4)).astype(np.float32) for _ in range(2))
    r = [np.corrcoef(observed[:, g], predicted[:, g])[0, 1] for g in range(4)]
    assert mean_correlation(observed, predicted) == pytest.approx(np.mean(r), abs=1e-5)
    observed[:, 0] = 2.0
    assert mean_correlation(observed, predicted) == pytest.approx(np.sum(r[1:]) / 4, abs=1e-5)
