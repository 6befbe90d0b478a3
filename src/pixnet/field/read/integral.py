"""Integrals of a field over regions, and the expression that follows from them.

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

from pixnet.expression import SCALE, expected_logs
from pixnet.field.head import LinearHead
from pixnet.field.pipeline import read_ahead
from pixnet.field.store import FieldStore
from pixnet.grid import Box
from pixnet.regions import Regions
from pixnet.regions.coverage import Floats, Ints, batches

_ENTRIES = 1 << 22  # entries of a coverage matrix in memory at once
_VALUES = 1 << 18  # values that the head computes at once: so few that malloc reuses their memory
_ROWS = 64  # regions that it computes at once, at least
_THREADS = min(os.cpu_count() or 1, 8)


class Integrals(NamedTuple):
    """Integrals over n regions: sums over pixels, weighted by the area in um^2 that a region covers of each pixel."""

    latent: Floats  # of valid share * D, shape (n, C), in latent units times um^2
    area: Floats  # of the valid share, shape (n,), in um^2
    background: Floats  # of the background share, shape (n,), in um^2


def integrate(store: FieldStore, regions: Regions) -> Integrals:
    """Integrate the latent field over regions, in float64, block by block.

    Threads read blocks ahead, one for each processor, up to 8. The blocks are added up in their order, so the number of
    threads does not change a bit of the result.
    """
    grid, channels = store.grid, store.head.channels
    sums = np.zeros((len(regions), channels + 2))
    bounds_um = regions.bounds_um
    cols = _touched_pixels(bounds_um[:, 0::2], grid.x_um, grid.pitch_um, grid.width)
    rows = _touched_pixels(bounds_um[:, 1::2], grid.y_um, grid.pitch_um, grid.height)

    blocks = _touched_blocks(store, cols, rows)
    for (chosen, window, parts), pixels in read_ahead(blocks, partial(_read_pixels, store), _THREADS):
        part_grid = grid.crop(window.row, window.col, window.height, window.width)
        for part in parts:
            sums[chosen[part]] += regions.take(chosen[part]).integrate(part_grid, pixels)
    return Integrals(sums[:, :channels] * store.scale, sums[:, channels], sums[:, channels + 1])


class _Block(NamedTuple):
    """A part of the field and the regions that touch it."""

    chosen: Ints  # indices of the regions
    window: Box  # the pixels of the block that they touch
    parts: list[slice]  # parts of `chosen` that are integrated at once


def _touched_blocks(store: FieldStore, cols: tuple[Ints, Ints], rows: tuple[Ints, Ints]) -> Iterator[_Block]:
    """Yield the blocks that regions touch, given the first and end column and row of the pixels of each region."""
    (left, right), (top, bottom) = cols, rows
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


def _touched_pixels(bounds: Floats, start_um: float, pitch_um: float, n_pixels: int) -> tuple[Ints, Ints]:
    """Return the first pixel and the end of the pixels that intervals (n, 2) in um touch along one axis."""
    first = np.floor((bounds[:, 0] - start_um) / pitch_um).clip(0, n_pixels).astype(np.int64)
    end = np.ceil((bounds[:, 1] - start_um) / pitch_um).clip(0, n_pixels).astype(np.int64)
    return first, end


def _read_pixels(store: FieldStore, block: _Block) -> Floats:
    """Read valid share * stored latent values, valid share and background share of each pixel, shape (h, w, C + 2).

    These are few and large steps that release the interpreter's lock, so that the main thread integrates meanwhile.
    """
    window = block.window
    latent, valid = store.read(window)
    channels = len(latent)
    pixels = np.empty((window.height, window.width, channels + 2))
    # Transposed before it is converted, while a value has two bytes.
    transposed = np.ascontiguousarray(latent.reshape(channels, -1).T)
    pixels[..., :channels] = transposed.reshape(window.height, window.width, channels)
    if not (valid == 1).all():
        pixels[..., :channels] *= valid[..., None]
    pixels[..., channels] = valid
    pixels[..., channels + 1] = store.read_background(window)
    return pixels


def expression(
    head: LinearHead, integrals: Integrals, columns: NDArray[np.int64], expected_log: bool
) -> Iterator[tuple[slice, NDArray[np.float32], dict[str, NDArray[np.float32]]]]:
    """Apply the head to integrals, some regions at a time, to save memory where there are thousands of genes.

    Without regions there is one empty part. `columns` are the indices (g,) of the outputs to compute; `expected_log`
    asks for the second layer.

    Yields
    ------
    rows
        The regions of this part.
    values
        Expected counts (`rate`), the integral of log-normalised expression (`sum`) or its average over the valid area,
        NaN where that is 0 (`mean`); shape (r, g), float32.
    layers
        Layers of a `rate` head, by name, shape (r, g) each, float32; NaN where there is no valid area, since a share of
        nothing is not zero. `log1p`: log1p of counts per 10,000 of the total over all outputs. `log1p_expected`: the
        expectation of that over Poisson counts, which is what a measurement shows on average.
    """
    latent, area = integrals.latent, integrals.area
    weight, baseline = head.W.astype(np.float64), head.b.astype(np.float64)
    total = latent @ weight.sum(axis=1) + area * baseline.sum()
    weight, baseline = weight[:, columns], baseline[columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        per_10k = np.where(area > 0, np.where(total > 0, SCALE / total, 0.0), np.nan).astype(np.float32)
        if head.kind == "mean":
            latent, area = np.where(area[:, None] > 0, latent / area[:, None], np.nan), np.ones_like(area)
    # A power of two, so that a table is written in complete chunks of rows.
    step = max(1 << max(_VALUES // max(1, len(columns)), 1).bit_length() - 1, _ROWS)
    latent, weight = np.column_stack([latent, area]), np.vstack([weight, baseline])
    for start in range(0, max(len(area), 1), step):
        rows = slice(start, min(start + step, len(area)))
        values = (latent[rows] @ weight).astype(np.float32)
        layers = {}
        if head.kind == "rate":
            layers["log1p"] = values * per_10k[rows, None]
            np.log1p(layers["log1p"], out=layers["log1p"])
        if head.kind == "rate" and expected_log:
            layers["log1p_expected"] = expected_logs(values, total[rows])
            layers["log1p_expected"][np.isnan(per_10k[rows])] = np.nan
        yield rows, values, layers
