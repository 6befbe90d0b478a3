"""The training loop: steps of the optimiser, validation, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixnet.errors import DataError, ModelError
from pixnet.expression import correlation
from pixnet.network.heads import integrate
from pixnet.training.batches import Batch, Batcher
from pixnet.training.checkpoint import load_checkpoint, save_checkpoint
from pixnet.training.objective import Objective, log_normalised

if TYPE_CHECKING:
    from pixnet.network.network import Network
    from pixnet.training.config import TrainingConfig
    from pixnet.training.features import PyramidSource

_CHECKPOINT_SECONDS = 60.0
_LARGEST_GRADIENT = 1.0  # norm to which the gradients are clipped
_LOWEST_RATE = 0.05  # of the full learning rate, where the cosine ends


@dataclass
class History:
    """Metrics of one stage of training."""

    rows: list[dict[str, float | str]] = field(default_factory=list)  # one per validation step
    best_step: int = 0  # step with the best score; 0 without validation
    best_score: float = -math.inf  # mean correlation on the validation part


Report = Callable[[str, int, int, History], None]
"""Called after each step with the stage's name, the steps done, the number of steps and the history."""


@dataclass(frozen=True)
class Stage:
    """One stage of a training, such as the search for the number of steps or the refit after it."""

    name: str  # also part of the random seeds
    steps: int
    checkpoint: Path | None = None  # written about once a minute; the stage resumes from it if it exists
    report: Report = lambda *_: None


class Trainer:
    """Trains a network in place, through one stage.

    `training` and `validation` make the batches to learn from and, unless None, those to validate on. The schedule of
    the learning rate spans `config.steps`, whatever `stage.steps` is, so a refit follows the same schedule as the
    search and only stops earlier.
    """

    def __init__(
        self,
        network: Network,
        source: PyramidSource,
        training: Batcher,
        validation: Batcher | None,
        config: TrainingConfig,
        stage: Stage,
    ) -> None:
        self.network = network
        self.source = source
        self.training = training
        self.validation = validation
        self.config = config
        self.stage = stage
        self.device = network.head.scale.device
        self.objective = Objective(config, len(training.targets), network.head.scale.shape[0]).to(self.device)
        self.parameters = [p for p in (*network.parameters(), *self.objective.parameters()) if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self._parameter_groups(), weight_decay=config.weight_decay)
        # The weights of a frozen encoder, which may take gigabytes, are neither averaged nor stored.
        self.trained = network.trained
        self._parts: dict[str, Any] = {
            "network": self.trained,
            "objective": self.objective,
            "optimiser": self.optimiser,
        }
        self.average = copy.deepcopy(self.trained.state_dict())
        self.best: dict[str, Tensor] = {}  # of the running mean at the best validation step
        self.history = History()
        self.steps_done = 0
        self._loss_sum = 0.0
        self._loss_count = 0

    def run(self) -> History:
        """Train to the end of the stage, from its checkpoint if there is one, and return the metrics of all its steps.

        The network is left in evaluation mode with the running mean of its weights: that of the best validation step,
        or that of the last step where there is no validation.
        """
        if self.stage.checkpoint and self.stage.checkpoint.exists():
            self._load(self.stage.checkpoint)
        saved = time.monotonic()
        self.network.train()
        for step in range(self.steps_done, self.stage.steps):
            self._take_step(step)
            self._record_metrics()
            self.stage.report(self.stage.name, self.steps_done, self.stage.steps, self.history)
            finished = self.steps_done == self.stage.steps or self._has_stopped_improving()
            if self.stage.checkpoint and (finished or time.monotonic() - saved > _CHECKPOINT_SECONDS):
                self._save(self.stage.checkpoint, self.stage.steps if finished else self.steps_done)
                saved = time.monotonic()
            if finished:
                break
        self._check_finite(*self.average.values())
        self.trained.load_state_dict(self.best or self.average)
        self.network.eval()
        return self.history

    def _check_finite(self, *tensors: Tensor) -> None:
        """Raise ModelError where the loss or the weights are no longer finite; nothing could be learned from there."""
        if not all(torch.isfinite(tensor).all() for tensor in tensors):
            raise ModelError(
                f"the training diverged: after step {self.steps_done} of {self.stage.name!r}, the loss or the weights "
                "are not finite. Lower `lr`, or check the other settings of [training]."
            )

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters in two groups, the head's with a learning rate of its own."""
        in_head = {id(p) for p in self.network.head.parameters()}
        others, head = ([p for p in self.parameters if (id(p) in in_head) == wanted] for wanted in (False, True))
        head_lr = self.config.lr * self.config.head_lr
        return [
            {"params": others, "lr": self.config.lr, "full_lr": self.config.lr},
            {"params": head, "lr": head_lr, "full_lr": head_lr},
        ]

    def _take_step(self, step: int) -> None:
        """Draw a batch and update the weights and their running mean."""
        config, network = self.config, self.network
        for group in self.optimiser.param_groups:
            group["lr"] = group["full_lr"] * learning_rate_factor(step, config)
        # Step n draws from (seed, stage, n) alone, so a resumed training repeats an unbroken one exactly.
        seeds = np.random.SeedSequence([config.seed, *self.stage.name.encode(), step]).generate_state(2)
        torch.manual_seed(int(seeds[0]))
        batch = self.training.draw(config.tiles, np.random.default_rng(seeds[1])).to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            latent = network.decode(self.source.crops(batch.views, batch.wants), batch.wants)
        predicted = network.head(integrate(latent, batch.coverage), batch.area)
        loss = self.objective(predicted, batch, network.head)
        self._check_finite(loss.detach())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, _LARGEST_GRADIENT)
        self.optimiser.step()
        _update_average(self.average, self.trained, config.ema, step)
        self._loss_sum += float(loss.detach())
        self._loss_count += 1
        self.steps_done = step + 1

    def _record_metrics(self) -> None:
        """Add a row to the history where one is due, and keep the weights if they are the best so far."""
        done = self.steps_done
        if done % self.config.evaluate_every and done != self.stage.steps:
            return
        row: dict[str, float | str] = {"stage": self.stage.name, "step": done}
        row["loss"] = self._loss_sum / self._loss_count
        self._loss_sum = 0.0
        self._loss_count = 0
        if self.validation:
            scores = self._validate(self.validation)
            row.update(scores)
            if scores["pcc_m"] > self.history.best_score:
                self.history.best_score = scores["pcc_m"]
                self.history.best_step = done
                self.best = copy.deepcopy(self.average)
        self.history.rows.append(row)

    def _validate(self, validation: Batcher) -> dict[str, float]:
        """Return the scores of the running mean of the weights on the validation part."""
        current = copy.deepcopy(self.trained.state_dict())
        self.trained.load_state_dict(self.average)
        predicted, observed = predict_regions(self.network, self.source, validation, self.config.tiles)
        self.trained.load_state_dict(current)
        self.network.train()
        return {"pcc_m": mean_correlation(observed, predicted), "mse": float(np.nanmean((predicted - observed) ** 2))}

    def _has_stopped_improving(self) -> bool:
        """Return whether the last `patience` validation steps brought no better score."""
        waited = self.steps_done - self.history.best_step
        return self.validation is not None and waited >= self.config.patience * self.config.evaluate_every

    def _load(self, checkpoint: Path) -> None:
        state = load_checkpoint(checkpoint, self._parts)
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        self.best = {name: value.to(self.device) for name, value in state["best"].items()}
        self.steps_done = state["step"]
        self.history = History(**state["history"])
        self._loss_sum, self._loss_count = state["loss"]

    def _save(self, checkpoint: Path, step: int) -> None:
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"average": self.average, "best": self.best, "step": step}
        state |= {"history": vars(self.history), "loss": [self._loss_sum, self._loss_count]}
        save_checkpoint(checkpoint, state)


@torch.no_grad()
def predict_regions(
    network: Network, source: PyramidSource, batcher: Batcher, tiles: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predict every region of a batcher with the network's present weights, `tiles` at once, in evaluation mode.

    Returns predicted and observed log-normalised values, shape (N, genes) each, in the order of the batcher's regions,
    without those that have no valid pixel. Observed values are NaN where a region's sample was not measured for a gene.
    The linear path, which is solved after training, is not used. DataError is raised if no region has a valid pixel.
    """
    predicted, observed = [], []
    for batch, integral in region_integrals(network, source, batcher, tiles):
        values = log_normalised(network.head(integral, batch.area), network.head, batch.measured)
        predicted.append(values.cpu().numpy())
        observed.append(observed_values(batch))
    return np.concatenate(predicted), np.concatenate(observed)


@torch.no_grad()
def region_integrals(
    network: Network, source: PyramidSource, batcher: Batcher, tiles: int
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield each batch of a batcher's regions with the integrals of the latent map, as `predict_regions` needs them."""
    network.eval()
    regions = 0
    for batch, _ in batcher.sweep(tiles):
        batch = batch.to(network.head.scale.device)
        latent = network.decode(source.crops(batch.views, batch.wants), batch.wants)
        regions += len(batch.total)
        yield batch, integrate(latent, batch.coverage)
    if not regions:
        names = ", ".join(target.sample.id for target in batcher.targets)
        raise DataError(f"{names}: none of the regions to validate on has a valid pixel; choose another validation.")


def observed_values(batch: Batch) -> NDArray[np.float32]:
    """Return a batch's log-normalised values, (N, genes), NaN where a region's sample was not measured for a gene."""
    measured = batch.measured[:, : batch.values.shape[1]] > 0
    return torch.where(measured, batch.values, torch.nan).cpu().numpy()


def mean_correlation(observed: NDArray[np.float32], predicted: NDArray[np.float32]) -> float:
    """Return the mean over genes of the Pearson correlation over the regions measured for each gene.

    Both tables have the shape (N, genes); observed values are NaN where a gene was not measured. Genes that do not vary
    count as zero. Genes that were measured in no region do not count.
    """
    measured = np.isfinite(observed)
    complete = measured.all(axis=0)
    correlations = [correlation(observed[:, complete], predicted[:, complete])]
    for gene in np.flatnonzero(measured.any(axis=0) & ~complete):
        rows = measured[:, gene]
        correlations.append(correlation(observed[rows, gene, None], predicted[rows, gene, None]))
    return float(np.concatenate(correlations).mean())


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Return the factor on the learning rates in a step: a linear rise over the warm-up, then half a cosine down."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return _LOWEST_RATE + (1.0 - _LOWEST_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def _update_average(average: dict[str, Tensor], trained: nn.Module, decay: float, step: int) -> None:
    """Move the running mean towards the weights; in early steps it forgets the random start faster."""
    decay = min(decay, (1.0 + step) / (10.0 + step))
    for name, value in trained.state_dict().items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1.0 - decay)
        else:
            average[name].copy_(value)
