"""PixNet as one of the methods that are evaluated: trained on one side of a split, read off on the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.config import Config
from pixnet.evaluation.spent import tell_spent
from pixnet.expression import log_expectation
from pixnet.field import ExpressionField
from pixnet.model import PixNet
from pixnet.regions import Regions
from pixnet.sample import Sample
from pixnet.training.feature_costs import COSTS, total_costs

Progress = Callable[[str, int, int, str], None]


def fit_pixnet(
    train: Sequence[Sample],
    config: Config,
    folder: Path,
    device: str = "auto",
    features: str | Path | None = None,
    progress: Progress | None = None,
) -> PixNet:
    """Train a model and save it to `folder / "model"`; a training that was broken off there goes on.

    What it used is told in the folder (see `pixnet.evaluation.spent`).

    Parameters
    ----------
    train
        Training samples.
    config
        Settings, the genes by name.
    folder
        Folder of this training alone.
    device, features, progress
        See `PixNet.fit`.
    """
    if (folder / "model").is_dir():
        return PixNet.load(folder / "model")
    import torch

    # What comes out depends on the number of threads, so checkpoints of another number are of no use.
    work = folder / f"training-{torch.get_num_threads()}"
    model = PixNet(config)
    model.fit(train, work=work, features=features, device=device, resume=True, progress=progress)
    # Features that an earlier sitting made are its own, though that sitting had other threads.
    tell_spent(folder, device, total_costs(sorted(folder.glob(f"training-*/{COSTS}"))))
    model.save(folder / "model")
    shutil.copy(work / "metrics.csv", folder / "model" / "metrics.csv")
    for unfinished in folder.glob("training-*"):
        shutil.rmtree(unfinished)
    return model


def pixnet_choices(model: PixNet) -> dict[str, Any]:
    """Give what was chosen in training: steps, and the surroundings that were left to the samples."""
    return {"steps": model.card["steps"], "surroundings_um": model.card["config"]["network"]["surroundings_um"]}


def predict_pixnet(
    model: PixNet, test: Sequence[Sample], fields: Path, device: str = "auto", progress: Progress | None = None
) -> list[NDArray[np.float32]]:
    """Predict the regions of held-out samples, (n, g) each; their fields lie in `fields / id`."""
    shutil.rmtree(fields, ignore_errors=True)  # of a sitting that was killed
    values = []
    for sample in test:
        # Without the mask: every method is scored on the same regions, also where the glass is bare.
        field = model.predict(
            sample.slide, fields / sample.id, tissue_mask=False, device=device,
            progress=_tile_progress(progress, sample.id),
        )  # fmt: skip
        values.append(log_values(field, sample.regions))
    return values


def log_values(field: ExpressionField, regions: Regions) -> NDArray[np.float32]:
    """Give what log-normalised expression is expected to be measured in regions, all of the panel's genes.

    Of a `rate` head see `measured_logs`; the others predict these values themselves.

    Parameters
    ----------
    field
        The field.
    regions
        n regions.

    Returns
    -------
    array
        (n, g), NaN where the field has no data.
    """
    if field.head.kind != "rate":
        return np.asarray(field.query(regions).X, np.float32)
    return measured_logs(field.query(regions, field.head.genes).X)


def measured_logs(counts: ArrayLike) -> NDArray[np.float32]:
    """Give what log-normalised expression is expected to be measured where these counts are expected.

    The logarithm of an expected count is above the expected logarithm. So that is taken, over Poisson counts at the
    region's *predicted* total.

    Parameters
    ----------
    counts
        (n, g + 1) expected counts, those of all genes outside the panel together as the last.

    Returns
    -------
    array
        (n, g), NaN where no counts are expected at all.
    """
    expected = np.asarray(counts, np.float64)
    total = expected.sum(axis=1)
    covered = total > 0
    values = np.full((len(expected), expected.shape[1] - 1), np.nan, np.float32)
    values[covered] = log_expectation(expected[covered, :-1] / total[covered, None], total[covered])
    return values


def _tile_progress(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress("predict", done, total, name)
