"""The training loop: steps, validation, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixnet.errors import DataError
from pixnet.expression import correlation
from pixnet.network.integral import integrate
from pixnet.training.batches import Batch, Batcher
from pixnet.training.checkpoint import load_checkpoint, save_checkpoint
from pixnet.training.objective import Objective, log_normalised

if TYPE_CHECKING:
    from pixnet.network.network import Network
    from pixnet.training.config import TrainingConfig
    from pixnet.training.features import PyramidSource

_CHECKPOINT_SECONDS = 60.0


@dataclass
class History:
    """What happened: one row of metrics for each look."""

    rows: list[dict[str, float | str]] = field(default_factory=list)
    best_step: int = 0
    best_score: float = -math.inf


Report = Callable[[str, int, int, "History"], None]
"""Called after each step with the stage's name, the step, the number of steps and the history."""


def train(
    network: Network,
    source: PyramidSource,
    training: Batcher,
    validation: Batcher | None,
    config: TrainingConfig,
    stage: str,
    steps: int,
    checkpoint: Path | None,
    report: Report,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    network
        Left with the running mean of its weights: those of the best step if there is a validation part, otherwise
        those of the last.
    source
        Gives pyramids.
    training, validation
        Make batches.
    config
        Settings; the learning rate's schedule spans `config.steps`, whatever `steps` is, so that a refit walks the
        same way and only stops earlier.
    stage
        Name of this run in the history, and part of its randomness.
    steps
        Steps to make.
    checkpoint
        File that is written now and then, and gone on from if it exists.
    report
        Called after each step.
    """
    device = network.head.scale.device
    outputs = network.head.scale.shape[0]
    objective = Objective(config, len(training.targets), outputs).to(device)
    parameters = [p for p in (*network.parameters(), *objective.parameters()) if p.requires_grad]
    optimiser = torch.optim.AdamW(_groups(parameters, network, config), weight_decay=config.weight_decay)
    average = copy.deepcopy(network.state_dict())
    best = copy.deepcopy(average)
    history, first, loss_sum, loss_count = History(), 0, 0.0, 0
    if checkpoint and checkpoint.exists():
        state = load_checkpoint(checkpoint, {"network": network, "objective": objective, "optimiser": optimiser})
        average, best = ({k: v.to(device) for k, v in state[name].items()} for name in ("average", "best"))
        first = state["step"]
        history, (loss_sum, loss_count) = History(**state["history"]), state["loss"]

    amp = device.type == "cuda"
    saved = time.monotonic()
    network.train()
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = group["full_lr"] * _schedule(step, config)
        # Step n draws from (seed, stage, n) alone, so a resumed run repeats an unbroken one exactly.
        seeds = np.random.SeedSequence([config.seed, *stage.encode(), step]).generate_state(2)
        torch.manual_seed(int(seeds[0]))
        batch = _to_device(training.draw(config.tiles, np.random.default_rng(seeds[1])), device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
            latent = network.decode(source.crops(batch.views, batch.wants), batch.wants)
        predicted = network.head(integrate(latent, batch.coverage), batch.area)
        loss = objective(predicted, batch, network.head)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        _update_average(average, network, config.ema, step)
        loss_sum, loss_count = loss_sum + float(loss.detach()), loss_count + 1

        done = step + 1
        if done % config.evaluate_every == 0 or done == steps:
            row: dict[str, float | str] = {"stage": stage, "step": done, "loss": loss_sum / loss_count}
            loss_sum, loss_count = 0.0, 0
            if validation:
                row.update(_validate(network, average, source, validation, config))
                if float(row["pcc_m"]) > history.best_score:
                    history.best_score, history.best_step = float(row["pcc_m"]), done
                    best = copy.deepcopy(average)
            history.rows.append(row)
        report(stage, done, steps, history)
        stale = bool(validation) and done - history.best_step >= config.patience * config.evaluate_every
        if checkpoint and (time.monotonic() - saved > _CHECKPOINT_SECONDS or done == steps or stale):
            save_checkpoint(
                checkpoint,
                {
                    "network": network.state_dict(),
                    "objective": objective.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "average": average,
                    "best": best,
                    "step": steps if stale else done,
                    "history": vars(history),
                    "loss": [loss_sum, loss_count],
                },
            )
            saved = time.monotonic()
        if stale:
            break
    network.load_state_dict(best if validation else average)
    network.eval()
    return history


@torch.no_grad()
def predict_regions(
    network: Network, source: PyramidSource, batcher: Batcher, tiles: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predict every region of a batcher, with the network as it is.

    Returns
    -------
    predicted, observed
        (N, genes) log-normalised values; observed ones are NaN where a region's sample was not measured for a gene.
    """
    network.eval()
    device = network.head.scale.device
    predicted, observed = [], []
    for batch, _ in batcher.sweep(tiles):
        batch = _to_device(batch, device)
        latent = network.decode(source.crops(batch.views, batch.wants), batch.wants)
        expression = network.head(integrate(latent, batch.coverage), batch.area)
        values = log_normalised(expression, network.head, batch.measured)
        predicted.append(values.float().cpu().numpy())
        measured = batch.measured[:, : values.shape[1]] > 0
        observed.append(torch.where(measured, batch.values, torch.nan).cpu().numpy())
    if not sum(map(len, observed)):
        names = ", ".join(target.sample.id for target in batcher.targets)
        raise DataError(f"{names}: none of the regions to validate on has a valid pixel; choose another validation.")
    return np.concatenate(predicted), np.concatenate(observed)


def _validate(
    network: Network, average: dict[str, Tensor], source: PyramidSource, validation: Batcher, config: TrainingConfig
) -> dict[str, float]:
    """Score the running mean of the weights on the validation part."""
    current = copy.deepcopy(network.state_dict())
    network.load_state_dict(average)
    predicted, observed = predict_regions(network, source, validation, config.tiles)
    network.load_state_dict(current)
    network.train()
    return {"pcc_m": mean_correlation(observed, predicted), "mse": float(np.nanmean((predicted - observed) ** 2))}


def mean_correlation(observed: NDArray[np.float32], predicted: NDArray[np.float32]) -> float:
    """Give the mean over genes of the Pearson correlation over the regions that were measured for each.

    Genes that do not vary count as zero; genes that no region was measured for do not count.
    """
    measured = np.isfinite(observed)
    whole = measured.all(axis=0)
    found = [correlation(observed[:, whole], predicted[:, whole])]
    for gene in np.flatnonzero(measured.any(axis=0) & ~whole):
        rows = measured[:, gene]
        found.append(correlation(observed[rows, gene, None], predicted[rows, gene, None]))
    return float(np.concatenate(found).mean())


def _groups(parameters: Sequence[nn.Parameter], network: Network, config: TrainingConfig) -> list[dict[str, Any]]:
    """Part the parameters by their learning rate after the warm-up."""
    of_head = {id(p) for p in network.head.parameters()}
    parts = [[p for p in parameters if (id(p) in of_head) == inside] for inside in (False, True)]
    rates = config.lr, config.lr * config.head_lr
    return [{"params": part, "lr": rate, "full_lr": rate} for part, rate in zip(parts, rates, strict=True)]


def _schedule(step: int, config: TrainingConfig) -> float:
    """Rise linearly over the warm-up, then fall along a cosine to a twentieth."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def _update_average(average: dict[str, Tensor], network: Network, decay: float, step: int) -> None:
    """Move the running mean towards the weights; early on it forgets its random start faster."""
    decay = min(decay, (1.0 + step) / (10.0 + step))
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1.0 - decay)
        else:
            average[name].copy_(value)


def _to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    moved: dict[str, Any] = {
        name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(batch).items()
    }
    return Batch(**moved)
