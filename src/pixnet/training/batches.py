"""Batches of a training step: tiles around measured regions, and the regions completely inside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from pixnet.errors import DataError
from pixnet.features.views import View
from pixnet.grid import Box
from pixnet.network.heads import to_torch
from pixnet.training.targets import Targets

_ATTEMPTS = 20
_SAMPLES = 8  # in one batch, at most


@dataclass(frozen=True, kw_only=True)
class Batch:
    """T tiles, and the N regions inside them."""

    views: Sequence[View]  # of each tile
    wants: Sequence[Box]  # latent pixels of each tile, in the frame of its view
    coverage: Tensor  # area of each latent pixel inside each region, sparse, in um^2, (N, T * pixels of a tile)
    area: Tensor  # valid area of each region, in um^2, (N,)
    counts: Tensor  # target counts, (N, M)
    total: Tensor  # target total counts, (N,)
    values: Tensor  # target log-normalised values, (N, genes)
    measured: Tensor  # 1 where a region's sample was measured for an output, otherwise 0, (N, M)
    sample: Tensor  # number of each region's sample, (N,)
    region: NDArray[np.int64]  # number of each region in its sample, (N,)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on a device."""
        if device.type == "cpu":
            return self
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True)
class _Tile:
    """A tile of one sample: its latent pixels in the frame of the slide, and the regions to take from it."""

    sample: int
    box: Box
    view: View
    regions: NDArray[np.int64]


class Batcher:
    """Makes batches of tiles of one size from the targets of several samples.

    Parameters
    ----------
    targets, views
        For each sample, its targets and the views to draw from.
    pitch_um
        Side of a latent pixel, in um.
    finest
        Image pixels along a latent pixel.
    tile_um
        Side of a tile's core, in um; widened to hold the largest region.
    jitter
        Standard deviation of the stain in a new view that is drawn for each tile; None: the given views are used.
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
        self.targets = targets
        self.views = views
        self.finest = finest
        self.jitter = jitter
        # For each sample (n, 4): first row, first column, last row, last column of each region, in latent pixels.
        bounds = [target.regions.bounds_um[:, [1, 0, 3, 2]] / pitch_um for target in targets]
        self._extents = [np.hstack([np.floor(b[:, :2]), np.ceil(b[:, 2:])]).astype(np.int64) for b in bounds]
        orders = [np.argsort(extents[:, 0], kind="stable") for extents in self._extents]
        self._by_row = [(order, extents[order, 0]) for order, extents in zip(orders, self._extents, strict=True)]
        widest = max(int((extents[:, 2:] - extents[:, :2]).max()) for extents in self._extents)
        self.side = max(math.ceil(tile_um / pitch_um), widest)
        self._measured = np.array([target.measured for target in targets], dtype=np.float32)
        # Number of the first region of each sample when regions are counted through all samples, and their total.
        self._first = np.concatenate([[0], np.cumsum([len(target) for target in targets])]).astype(np.int64)

    def draw(self, tiles: int, rng: np.random.Generator) -> Batch:
        """Draw tiles around random regions, all of which are equally likely.

        Of more than eight samples, eight are drawn first, and then as many regions of each. So a sample has several
        regions in a batch, which determine its mean (`within_samples`), and one with ten million regions counts no more
        than others. DataError is raised if no drawn region has a valid pixel in 20 attempts.
        """
        for _ in range(_ATTEMPTS):
            batch = self._batch(self._draw_tiles(tiles, rng))
            if len(batch.total):
                return batch
        names = ", ".join(target.sample.id for target in self.targets)
        raise DataError(f"{names}: {_ATTEMPTS * tiles} regions drawn at random have no valid pixel.")

    def _draw_tiles(self, tiles: int, rng: np.random.Generator) -> list[_Tile]:
        samples = len(self.targets)
        if samples <= _SAMPLES:
            regions = self._first[-1]
            numbers = np.sort(rng.choice(regions, size=tiles, replace=tiles > regions))
            return [self._draw_tile(*self._locate(flat), rng) for flat in numbers]
        drawn = []
        for place, sample in enumerate(rng.permutation(samples)[:_SAMPLES]):
            regions = len(self.targets[sample])
            number = -(-(tiles - place) // _SAMPLES)  # the first ones take the tiles that are left over
            of_sample = np.sort(rng.choice(regions, size=number, replace=number > regions))
            drawn += [self._draw_tile(int(sample), int(region), rng) for region in of_sample]
        return drawn

    def _draw_tile(self, sample: int, region: int, rng: np.random.Generator) -> _Tile:
        """Draw a tile that contains a region, and its view."""
        top, left, bottom, right = self._extents[sample][region]
        row = int(rng.integers(bottom - self.side, top, endpoint=True))
        col = int(rng.integers(right - self.side, left, endpoint=True))
        box = Box(row, col, self.side, self.side)
        views = self.views[sample]
        view = views[int(rng.integers(len(views)))] if self.jitter is None else views[0].redrawn(rng, self.jitter)
        return _Tile(sample, box, view, self._regions_inside(sample, box))

    def sweep(self, tiles: int) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Go through every region once, each at the centre of a tile, through the first view of its sample.

        Yields each batch with the numbers of its tiles' regions, counted through all samples.
        """
        regions = int(self._first[-1])
        for start in range(0, regions, tiles):
            index = np.arange(start, min(start + tiles, regions))
            yield self._batch([self._tile_around(flat) for flat in index]), index

    def _tile_around(self, flat: np.int64) -> _Tile:
        sample, region = self._locate(flat)
        top, left, bottom, right = self._extents[sample][region]
        box = Box(int(top + bottom - self.side) // 2, int(left + right - self.side) // 2, self.side, self.side)
        return _Tile(sample, box, self.views[sample][0], np.array([region]))

    def _locate(self, flat: np.int64) -> tuple[int, int]:
        """Return the sample, and the region within it, of a number counted through all samples."""
        sample = int(np.searchsorted(self._first, flat, side="right")) - 1
        return sample, int(flat - self._first[sample])

    def _regions_inside(self, sample: int, box: Box) -> NDArray[np.int64]:
        """Find the regions of a sample that are completely inside a box."""
        # Select by first row before the other edges: of ten million bins, a tile meets only a few rows.
        order, tops = self._by_row[sample]
        first, last = np.searchsorted(tops, (box.row, box.row + box.height))
        near = order[first:last]
        extents = self._extents[sample][near]
        inside = (
            (extents[:, 1] >= box.col)
            & (extents[:, 2] <= box.row + box.height)
            & (extents[:, 3] <= box.col + box.width)
        )
        return np.sort(near[inside])

    def _batch(self, tiles: list[_Tile]) -> Batch:
        """Put tiles together, without the regions that have no valid pixel."""
        wants, blocks, indices = [], [], []
        for tile in tiles:
            grid = tile.view.lattice.grid(self.finest)
            want = tile.view.symmetry.box(tile.box, grid.height, grid.width)
            block = tile.view.coverage(self.targets[tile.sample].regions.take(tile.regions), want, self.finest)
            # A region without a valid pixel has no integral, and its mean would be 0 / 0.
            valid = np.flatnonzero(block.sum(axis=1) > 0)
            wants.append(want)
            blocks.append(block[valid])
            indices.append(tile.regions[valid])
        coverage = sparse.csr_array(sparse.block_diag(blocks, format="csr"))
        parts = [(self.targets[tile.sample], index) for tile, index in zip(tiles, indices, strict=True)]
        counts, values = zip(*(target.dense(index) for target, index in parts), strict=True)
        total = np.concatenate([target.total[index] for target, index in parts])
        sample = np.repeat([tile.sample for tile in tiles], [len(index) for index in indices]).astype(np.int64)
        return Batch(
            views=[tile.view for tile in tiles],
            wants=wants,
            coverage=to_torch(coverage),
            area=torch.from_numpy(np.asarray(coverage.sum(axis=1), dtype=np.float32).ravel()),
            counts=torch.from_numpy(np.concatenate(counts)),
            total=torch.from_numpy(total),
            values=torch.from_numpy(np.concatenate(values)),
            measured=torch.from_numpy(self._measured[sample]),
            sample=torch.from_numpy(sample),
            region=np.concatenate(indices),
        )
