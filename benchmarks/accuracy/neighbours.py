"""Neighbouring sections as predictions of a held-out one: `python -m benchmarks.accuracy.neighbours PROTOCOL`.

Each training section is laid over the held-out one by the places of the spots alone, and what was measured in it is
averaged round each spot. Where sections are neighbours of one donor, that says how much of a score needs no picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.accuracy.protocol_plan import frozen_samples
from pixnet.errors import PixNetError
from pixnet.evaluation.protocol import Protocol
from pixnet.evaluation.scoring.held_out import HeldOut
from pixnet.evaluation.scoring.metrics import score
from pixnet.sample.panel import GenePanel

Floats = NDArray[np.float64]

WIDTHS_UM = (100.0, 150.0, 200.0, 300.0, 400.0, 600.0)
"""Standard deviations of the kernel that is chosen from, on the training sections."""

_TURNS = np.deg2rad(np.arange(-180.0, 180.0, 15.0))  # where the search for the best lay begins
_ROUNDS = 50


def laid_over(moving: Floats, fixed: Floats) -> Floats:
    """Turn and shift points (n, 2) so that they lie over others (m, 2): iterated closest points, from many turns."""
    tree, best = cKDTree(fixed), (np.inf, moving)
    for angle in _TURNS:
        placed = (moving - moving.mean(axis=0)) @ _turn(angle).T + fixed.mean(axis=0)
        for _ in range(_ROUNDS):
            near = fixed[tree.query(placed)[1]]
            u, _, vt = np.linalg.svd((placed - placed.mean(axis=0)).T @ (near - near.mean(axis=0)))
            turn = vt.T @ np.diag([1.0, np.linalg.det(vt.T @ u.T)]) @ u.T
            placed = (placed - placed.mean(axis=0)) @ turn.T + near.mean(axis=0)
        # Both ways, or a small section would lie anywhere within a large one.
        apart = float(np.mean(tree.query(placed)[0] ** 2) + np.mean(cKDTree(placed).query(fixed)[0] ** 2))
        best = min(best, (apart, placed), key=lambda pair: pair[0])
    return best[1]


def scores(training: Sequence[HeldOut], held: HeldOut, widths_um: Sequence[float]) -> list[float]:
    """Give PCC@M of a held-out section for each width of the means round its spots over the training ones."""
    centers = held.centers_um[held.enough]
    placed = np.concatenate([laid_over(one.centers_um[one.enough], centers) for one in training])
    observed = np.concatenate([one.observed[one.enough] for one in training])
    squared = ((centers[:, None] - placed) ** 2).sum(axis=2)
    found = []
    for width in widths_um:
        near = np.exp(-squared / (2.0 * width**2))
        found.append(score(held.observed[held.enough], near @ observed / near.sum(axis=1, keepdims=True))["pcc_m"])
    return found


def _turn(angle: float) -> Floats:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.neighbours", description=__doc__)
    parser.add_argument("protocol", type=Path)
    options = parser.parse_args()
    protocol = Protocol.read(options.protocol)
    samples = frozen_samples(protocol)
    found = []
    for fold in protocol.folds:
        panel, split = GenePanel(fold.genes, "list"), fold.split(samples)
        training = [HeldOut([sample], panel, protocol.min_counts) for sample in split.train]
        inner = [scores([b for b in training if b is not a], a, WIDTHS_UM) for a in training]
        width = WIDTHS_UM[int(np.argmax(np.mean(inner, axis=0)))]
        found += scores(training, HeldOut(split.test, panel, protocol.min_counts), [width])
        print(f"{fold.name}: PCC@M {found[-1]:.3f}, kernel of {width:g} um chosen among the training sections")
    print(f"mean: {np.mean(found):.3f}")


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
