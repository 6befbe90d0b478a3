"""From a field and regions to integrals, and from integrals to expression.

The head is linear, so the integral of every gene's map is the head applied to the integral of the latent channels
(arXiv 2503.01347v4, Eq. 9): W (integral of D) + area * b.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pixnet.coverage import Floats, Ints, batches
from pixnet.field.head import LinearHead
from pixnet.field.store import FieldStore
from pixnet.grid import Box
from pixnet.regions import Regions

_ENTRIES = 1 << 22  # areas of a coverage matrix held at once
_ROWS = 1 << 14  # regions to which the head is applied at once
PER_10K = 1e4


def integrate(store: FieldStore, regions: Regions) -> tuple[Floats, Floats]:
    """Integrate the latent field over regions, in float64, block by block.

    Parameters
    ----------
    store
        The field.
    regions
        n regions.

    Returns
    -------
    integral
        (n, C), the sum over cells of covered area * valid share * D, latent units times um^2.
    area
        (n,), the sum over cells of covered area * valid share, um^2.
    """
    grid, channels = store.grid, store.head.channels
    sums = np.zeros((len(regions), channels + 1))
    bounds_um = regions.bounds_um
    # The cells that each region's bounds touch: first ones and ends, along x and y.
    (left, right), (top, bottom) = (
        _touched(bounds, start, grid.pitch_um, n_cells)
        for bounds, start, n_cells in (
            (bounds_um[:, 0::2], grid.x_um, grid.width),
            (bounds_um[:, 1::2], grid.y_um, grid.height),
        )
    )
    for box in store.blocks():
        across = (left < box.col + box.width) & (right > np.maximum(left, box.col))
        down = (top < box.row + box.height) & (bottom > np.maximum(top, box.row))
        chosen = np.flatnonzero(across & down)
        if not len(chosen):
            continue
        x0, x1 = left[chosen].clip(min=box.col), right[chosen].clip(max=box.col + box.width)
        y0, y1 = top[chosen].clip(min=box.row), bottom[chosen].clip(max=box.row + box.height)
        row, col = int(y0.min()), int(x0.min())
        window = Box(row, col, int(y1.max()) - row, int(x1.max()) - col)
        cells = _cells(store, window)
        part_grid = grid.crop(window.row, window.col, window.height, window.width)
        for part in batches((x1 - x0) * (y1 - y0), _ENTRIES):
            index = chosen[part]
            sums[index] += np.asarray(regions.take(index).coverage(part_grid) @ cells)
    return sums[:, :channels] * store.scale, sums[:, channels]


def _touched(bounds: Floats, start_um: float, pitch_um: float, n_cells: int) -> tuple[Ints, Ints]:
    """Give the first cell and the end of the cells that intervals (n, 2) touch along one axis."""
    first = np.floor((bounds[:, 0] - start_um) / pitch_um).clip(0, n_cells).astype(np.int64)
    end = np.ceil((bounds[:, 1] - start_um) / pitch_um).clip(0, n_cells).astype(np.int64)
    return first, end


def _cells(store: FieldStore, window: Box) -> Floats:
    """Give valid share * stored latent values, and the valid share itself as last column, one row per cell."""
    latent, valid = store.read(window)
    channels = len(latent)
    cells = np.empty((valid.size, channels + 1))
    share = cells[:, channels]
    share[:] = valid.ravel()
    np.multiply(latent.reshape(channels, -1).T, share[:, None], out=cells[:, :channels])
    return cells


def expression(
    head: LinearHead, integral: Floats, area: Floats, columns: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Apply the head to integrals.

    Parameters
    ----------
    head
        The head.
    integral
        (n, C), latent units times um^2.
    area
        (n,), valid um^2.
    columns
        (g,) outputs that are wanted.

    Returns
    -------
    values
        (n, g) float32: expected counts (`rate`), the integral of log-normalised expression (`sum`), or its average
        over the area, NaN where there is none (`mean`).
    log1p
        (n, g) float32, for `rate` only: log1p of counts per 10,000 of the total over all outputs. NaN where there is
        no valid area, for a share of nothing is not zero.
    """
    weight, baseline = head.W.astype(np.float64), head.b.astype(np.float64)
    total = integral @ weight.sum(axis=1) + area * baseline.sum()
    weight, baseline = weight[:, columns], baseline[columns]
    values = np.empty((len(area), len(columns)), np.float32)
    log1p = np.empty_like(values) if head.kind == "rate" else None
    for start in range(0, len(area), _ROWS):
        rows = slice(start, start + _ROWS)
        size = area[rows, None]
        if head.kind == "mean":
            average = np.full(integral[rows].shape, np.nan)
            np.divide(integral[rows], size, out=average, where=size > 0)
            values[rows] = average @ weight + baseline
            continue
        sums = integral[rows] @ weight + size * baseline
        values[rows] = sums
        if log1p is not None:
            share = np.where(size > 0, 0.0, np.nan) * np.ones_like(sums)
            np.divide(sums, total[rows, None], out=share, where=total[rows, None] > 0)
            log1p[rows] = np.log1p(PER_10K * share)
    return values, log1p
