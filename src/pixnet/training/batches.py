"""What one step sees: tiles around measured regions, and the regions wholly inside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from pixnet.errors import DataError
from pixnet.grid import Box
from pixnet.network.integral import to_torch
from pixnet.training.targets import Targets
from pixnet.training.views import View

_ATTEMPTS = 20


@dataclass(frozen=True)
class Batch:
    """Tiles, and the regions that lie in them.

    Attributes
    ----------
    views, wants
        For each tile, the view and the box of latent cells in its frame.
    coverage
        Sparse (N, tiles * cells), um^2.
    area
        (N,), the valid area of each region, um^2.
    counts, total, values
        (N, M), (N,), (N, genes): the targets.
    measured
        (N, M), 1 where a region's sample was measured for an output, else 0.
    sample
        (N,), the number of each region's sample.
    """

    views: Sequence[View]
    wants: Sequence[Box]
    coverage: Tensor
    area: Tensor
    counts: Tensor
    total: Tensor
    values: Tensor
    measured: Tensor
    sample: Tensor


class Batcher:
    """Makes batches of one size from the targets of several samples.

    Parameters
    ----------
    targets
        One for each sample.
    views
        For each sample, the views to draw from.
    pitch_um
        Side of a latent cell, in um.
    finest
        Pixels along a latent cell.
    tile_um
        Side of a tile's core, in um; widened to hold the largest region.
    jitter
        None: tiles are seen through the given views. Otherwise each through a fresh one, drawn with this jitter.
    """

    def __init__(
        self,
        targets: Sequence[Targets],
        views: Sequence[Sequence[View]],
        pitch_um: float,
        finest: int,
        tile_um: float,
        jitter: float | None = None,
    ) -> None:
        self.targets, self.views, self.pitch_um, self.finest, self.jitter = targets, views, pitch_um, finest, jitter
        # Per sample (n, 4): first row, first column, last row, last column of each region, in latent cells.
        bounds = [t.regions.bounds_um[:, [1, 0, 3, 2]] / pitch_um for t in targets]
        self.cells = [np.hstack([np.floor(b[:, :2]), np.ceil(b[:, 2:])]).astype(np.int64) for b in bounds]
        orders = [np.argsort(c[:, 0], kind="stable") for c in self.cells]
        self._by_row = [(order, c[order, 0]) for order, c in zip(orders, self.cells, strict=True)]
        widest = max(int((c[:, 2:] - c[:, :2]).max()) for c in self.cells)
        self.side = max(math.ceil(tile_um / pitch_um), widest)
        self._measured = np.array([t.measured for t in targets], dtype=np.float32)
        sizes = np.array([len(t) for t in targets], dtype=np.float64)
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def draw(self, tiles: int, rng: np.random.Generator) -> Batch:
        """Draw tiles around regions chosen at random; every region of every sample is as likely as any other.

        Raises
        ------
        DataError
            If no drawn region has a valid pixel, time and again.
        """
        for _ in range(_ATTEMPTS):
            batch = self._draw(tiles, rng)
            if len(batch.total):
                return batch
        names = ", ".join(target.sample.id for target in self.targets)
        raise DataError(f"{names}: {_ATTEMPTS * tiles} regions drawn at random have no valid pixel.")

    def _draw(self, tiles: int, rng: np.random.Generator) -> Batch:
        chosen = rng.choice(self._first[-1], size=tiles, replace=tiles > self._first[-1])
        placed = []
        for flat in np.sort(chosen):
            number, region = self._locate(flat)
            top, left, bottom, right = self.cells[number][region]
            row = int(rng.integers(bottom - self.side, top, endpoint=True))
            col = int(rng.integers(right - self.side, left, endpoint=True))
            if self.jitter is None:
                view = self.views[number][int(rng.integers(len(self.views[number])))]
            else:
                view = self.views[number][0].redrawn(rng, self.jitter)
            placed.append((number, Box(row, col, self.side, self.side), view))
        return self._batch(placed, [self._inside(number, box) for number, box, _ in placed])

    def sweep(self, tiles: int) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Go through every region once, each in a tile of its own centre, through the first view of its sample.

        Yields
        ------
        batch, index
            The batch, and the number of each of its regions, counted through all samples.
        """
        for start in range(0, int(self._first[-1]), tiles):
            flat = np.arange(start, min(start + tiles, int(self._first[-1])))
            placed, inside = [], []
            for f in flat:
                number, region = self._locate(f)
                top, left, bottom, right = self.cells[number][region]
                box = Box(int(top + bottom - self.side) // 2, int(left + right - self.side) // 2, self.side, self.side)
                placed.append((number, box, self.views[number][0]))
                inside.append(np.array([region]))
            yield self._batch(placed, inside), flat

    def _locate(self, flat: np.int64) -> tuple[int, int]:
        """Give the sample, and the region in it, that a number counted through all samples stands for."""
        number = int(np.searchsorted(self._first, flat, side="right")) - 1
        return number, int(flat - self._first[number])

    def _inside(self, number: int, box: Box) -> NDArray[np.int64]:
        """Find the regions of a sample that lie wholly inside a box."""
        # By first row first: of ten million bins a tile meets a few rows.
        order, tops = self._by_row[number]
        first, last = np.searchsorted(tops, (box.row, box.row + box.height))
        near = order[first:last]
        c = self.cells[number][near]
        inside = (c[:, 1] >= box.col) & (c[:, 2] <= box.row + box.height) & (c[:, 3] <= box.col + box.width)
        return np.sort(near[inside])

    def _batch(self, placed: list[tuple[int, Box, View]], inside: list[NDArray[np.int64]]) -> Batch:
        views, wants, blocks = [], [], []
        for (number, box, view), index in zip(placed, inside, strict=True):
            grid = view.lattice.grid(self.finest)
            want = view.symmetry.box(box, grid.height, grid.width)
            views.append(view)
            wants.append(want)
            regions = self.targets[number].regions.take(index)
            blocks.append(view.coverage(regions, want, self.finest))
        # A region without a valid pixel has no integral, and its mean would be 0 / 0.
        seen = [np.flatnonzero(block.sum(axis=1) > 0) for block in blocks]
        blocks = [block[rows] for block, rows in zip(blocks, seen, strict=True)]
        inside = [index[rows] for index, rows in zip(inside, seen, strict=True)]
        coverage = sparse.csr_array(sparse.block_diag(blocks, format="csr"))
        pairs = [(number, index) for (number, _, _), index in zip(placed, inside, strict=True)]

        counts, values = zip(*(self.targets[number].dense(index) for number, index in pairs), strict=True)
        total = np.concatenate([self.targets[number].total[index] for number, index in pairs])
        sample = np.concatenate([np.full(len(index), number) for number, index in pairs]).astype(np.int64)
        area = torch.from_numpy(np.asarray(coverage.sum(axis=1), dtype=np.float32).ravel())
        return Batch(
            views,
            wants,
            to_torch(coverage),
            area,
            torch.from_numpy(np.concatenate(counts)),
            torch.from_numpy(total),
            torch.from_numpy(np.concatenate(values)),
            torch.from_numpy(self._measured[sample]),
            torch.from_numpy(sample),
        )
