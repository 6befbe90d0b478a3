"""From a field and regions to integrals, and from integrals to expression.

The head is linear, so the integral of every gene's map is the head applied to the integral of the latent channels
(arXiv 2503.01347v4, Eq. 9): W (integral of D) + area * b.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.expression import SCALE
from pixnet.field.head import LinearHead
from pixnet.field.pipeline import read_ahead
from pixnet.field.store import FieldStore
from pixnet.grid import Box
from pixnet.regions import Regions
from pixnet.regions.coverage import Floats, Ints, batches

_ENTRIES = 1 << 22  # areas of a coverage matrix held at once
_VALUES = 1 << 18  # values that the head gives at once: little enough that memory is used again, not asked for anew
_ROWS = 64  # regions that it does so for at the least
_THREADS = min(os.cpu_count() or 1, 8)


class Integrals(NamedTuple):
    """Integrals over n regions.

    Attributes
    ----------
    latent
        (n, C), the sum over cells of covered area * valid share * D, latent units times um^2.
    area
        (n,), the sum over cells of covered area * valid share, um^2.
    background
        (n,), the sum over cells of covered area * the background's share, um^2.
    """

    latent: Floats
    area: Floats
    background: Floats


def integrate(store: FieldStore, regions: Regions) -> Integrals:
    """Integrate the latent field over regions, in float64, block by block.

    Blocks are read ahead in as many threads as there are processors, and added up in their own order: neither changes
    a bit of the result.

    Parameters
    ----------
    store
        The field.
    regions
        n regions.
    """
    grid, channels = store.grid, store.head.channels
    sums = np.zeros((len(regions), channels + 2))
    bounds_um = regions.bounds_um
    # The cells that each region's bounds touch: first ones and ends, along x and y.
    touched = [
        _touched(bounds_um[:, axis::2], start, grid.pitch_um, n_cells)
        for axis, start, n_cells in ((0, grid.x_um, grid.width), (1, grid.y_um, grid.height))
    ]

    for (chosen, window, parts), cells in read_ahead(_blocks(store, *touched), partial(_cells, store), _THREADS):
        part_grid = grid.crop(window.row, window.col, window.height, window.width)
        for part in parts:
            sums[chosen[part]] += regions.take(chosen[part]).integrate(part_grid, cells)
    return Integrals(sums[:, :channels] * store.scale, sums[:, channels], sums[:, channels + 1])


class _Block(NamedTuple):
    """Regions that touch a block, the cells they need of it, and which of the regions to do at once."""

    chosen: Ints
    window: Box
    parts: list[slice]


def _blocks(store: FieldStore, across: tuple[Ints, Ints], down: tuple[Ints, Ints]) -> Iterator[_Block]:
    """Give the blocks that regions touch."""
    (left, right), (top, bottom) = across, down
    for box in store.blocks():
        meets_x = (left < box.col + box.width) & (right > np.maximum(left, box.col))
        meets_y = (top < box.row + box.height) & (bottom > np.maximum(top, box.row))
        chosen = np.flatnonzero(meets_x & meets_y)
        if not len(chosen):
            continue
        x0, x1 = left[chosen].clip(min=box.col), right[chosen].clip(max=box.col + box.width)
        y0, y1 = top[chosen].clip(min=box.row), bottom[chosen].clip(max=box.row + box.height)
        row, col = int(y0.min()), int(x0.min())
        window = Box(row, col, int(y1.max()) - row, int(x1.max()) - col)
        yield _Block(chosen, window, list(batches((x1 - x0) * (y1 - y0), _ENTRIES)))


def _touched(bounds: Floats, start_um: float, pitch_um: float, n_cells: int) -> tuple[Ints, Ints]:
    """Give the first cell and the end of the cells that intervals (n, 2) touch along one axis."""
    first = np.floor((bounds[:, 0] - start_um) / pitch_um).clip(0, n_cells).astype(np.int64)
    end = np.ceil((bounds[:, 1] - start_um) / pitch_um).clip(0, n_cells).astype(np.int64)
    return first, end


def _cells(store: FieldStore, block: _Block) -> Floats:
    """Give, for each cell, valid share * stored latent values, the valid share and the background's: (h, w, C + 2).

    Few and large steps, each of them outside the interpreter's lock: meanwhile others are integrated.
    """
    window = block.window
    latent, valid = store.read(window)
    channels = len(latent)
    cells = np.empty((window.height, window.width, channels + 2))
    turned = np.ascontiguousarray(latent.reshape(channels, -1).T)  # before it is converted: two bytes a value
    cells[..., :channels] = turned.reshape(window.height, window.width, channels)
    if not (valid == 1).all():
        cells[..., :channels] *= valid[..., None]
    cells[..., channels] = valid
    cells[..., channels + 1] = store.read_background(window)
    return cells


def expression(
    head: LinearHead, integrals: Integrals, columns: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32] | None]]:
    """Apply the head to integrals, some regions at a time: thousands of genes never stand in memory for all of them.

    Parameters
    ----------
    head
        The head.
    integrals
        Of n regions.
    columns
        (g,) outputs that are wanted.

    Yields
    ------
    rows
        Which regions; all in one part where there are none.
    values
        (r, g) float32: expected counts (`rate`), the integral of log-normalised expression (`sum`), or its average
        over the area, NaN where there is none (`mean`).
    log1p
        (r, g) float32, for `rate` only: log1p of counts per 10,000 of the total over all outputs. NaN where there is
        no valid area, for a share of nothing is not zero.
    """
    latent, area = integrals.latent, integrals.area
    weight, baseline = head.W.astype(np.float64), head.b.astype(np.float64)
    total = latent @ weight.sum(axis=1) + area * baseline.sum()
    weight, baseline = weight[:, columns], baseline[columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        per_10k = np.where(area > 0, np.where(total > 0, SCALE / total, 0.0), np.nan).astype(np.float32)
        if head.kind == "mean":
            latent, area = np.where(area[:, None] > 0, latent / area[:, None], np.nan), np.ones_like(area)
    # A power of two, so that what is written in chunks of rows is written a whole chunk at a time.
    at_once = max(1 << max(_VALUES // max(1, len(columns)), 1).bit_length() - 1, _ROWS)
    latent, weight = np.column_stack([latent, area]), np.vstack([weight, baseline])
    for start in range(0, max(len(area), 1), at_once):
        rows = slice(start, min(start + at_once, len(area)))
        values = (latent[rows] @ weight).astype(np.float32)
        log1p = None
        if head.kind == "rate":
            log1p = values * per_10k[rows, None]
            np.log1p(log1p, out=log1p)
        yield rows, values, log1p
