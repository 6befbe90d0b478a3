"""Neighbouring sections as predictions of a held-out one: `python -m benchmarks.accuracy.neighbours`.

Each training section is aligned with the held-out one by the places of the spots alone, and its measured values are
averaged around each spot. Where sections are neighbours of one donor, this shows how much of a score needs no image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.accuracy.her2st import PROTOCOL
from benchmarks.accuracy.protocol_plan import frozen_samples
from pixnet.errors import PixNetError
from pixnet.evaluation.held_out import HeldOut
from pixnet.evaluation.protocol import Protocol
from pixnet.sample.panel import GenePanel
from pixnet.scoring.metrics import score

Floats = NDArray[np.float64]

WIDTHS_UM = (100.0, 150.0, 200.0, 300.0, 400.0, 600.0)
"""Standard deviations of the kernel; one is chosen on the training sections."""

_TURNS = np.deg2rad(np.arange(-180.0, 180.0, 15.0))  # where the search for the best alignment begins
_ROUNDS = 50


def aligned(moving: Floats, fixed: Floats) -> Floats:
    """Rotate and shift points, shape (n, 2), onto others, shape (m, 2): iterated closest points from many angles."""
    tree, best = cKDTree(fixed), (np.inf, moving)
    for angle in _TURNS:
        placed = (moving - moving.mean(axis=0)) @ _turn(angle).T + fixed.mean(axis=0)
        for _ in range(_ROUNDS):
            near = fixed[tree.query(placed)[1]]
            u, _, vt = np.linalg.svd((placed - placed.mean(axis=0)).T @ (near - near.mean(axis=0)))
            turn = vt.T @ np.diag([1.0, np.linalg.det(vt.T @ u.T)]) @ u.T
            placed = (placed - placed.mean(axis=0)) @ turn.T + near.mean(axis=0)
        # Both ways, since a small section would fit anywhere within a large one.
        apart = float(np.mean(tree.query(placed)[0] ** 2) + np.mean(cKDTree(placed).query(fixed)[0] ** 2))
        best = min(best, (apart, placed), key=lambda pair: pair[0])
    return best[1]


def scores(training: Sequence[HeldOut], held: HeldOut, widths_um: Sequence[float]) -> list[float]:
    """Return PCC@M of a held-out section for each width of the kernel over the spots of the training sections."""
    centers = held.centers_um[held.enough]
    placed = np.concatenate([aligned(section.centers_um[section.enough], centers) for section in training])
    observed = np.concatenate([section.observed[section.enough] for section in training])
    squared = ((centers[:, None] - placed) ** 2).sum(axis=2)
    of_widths = []
    for width in widths_um:
        near = np.exp(-squared / (2.0 * width**2))
        predicted = near @ observed / near.sum(axis=1, keepdims=True)
        of_widths.append(score(held.observed[held.enough], predicted)["pcc_m"])
    return of_widths


def _turn(angle: float) -> Floats:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.neighbours", description=__doc__)
    parser.add_argument("protocol", type=Path, nargs="?", default=PROTOCOL)
    protocol = Protocol.read(parser.parse_args().protocol)
    samples = frozen_samples(protocol)
    of_folds = []
    for fold in protocol.folds:
        panel, split = GenePanel(fold.genes, "list"), fold.split(samples)
        training = [HeldOut([sample], panel, protocol.min_counts) for sample in split.train]
        inner = [scores([b for b in training if b is not a], a, WIDTHS_UM) for a in training]
        width = WIDTHS_UM[int(np.argmax(np.mean(inner, axis=0)))]
        of_folds += scores(training, HeldOut(split.test, panel, protocol.min_counts), [width])
        print(f"{fold.name}: PCC@M {of_folds[-1]:.3f}, kernel of {width:g} um chosen on the training sections")
    print(f"mean: {np.mean(of_folds):.3f}")


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
