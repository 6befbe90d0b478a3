"""Maps of genes and signatures, computed lazily from a field, at any level of its pyramid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import FieldError
from pixnet.expression import SCALE
from pixnet.field.read.query import gene_columns
from pixnet.field.store import FieldStore
from pixnet.grid import Box
from pixnet.safe.names import as_text

if TYPE_CHECKING:
    import dask.array
    import xarray

_BLOCK_VALUES = 1 << 24  # latent values and maps that one dask task holds: 64 MB
_GENES = 32  # maps that one dask task computes, at most
_LOG_UNITS = "log1p of counts per 10,000"


@dataclass(frozen=True, eq=False)
class Readout:
    """How k values are computed for each pixel: linear in the latent map, or the logarithm of that.

    The values are `loadings.T @ stored + baseline`, with arrays of shape (C, k) and (k,). With `total`, the loadings
    and baseline (C + 1,) of the sum over all outputs, they are log1p of counts per 10,000 of that sum. With `weights`
    (k,), the result is the weighted sum of the k values, after the logarithm.
    """

    names: tuple[str, ...]
    units: str
    loadings: NDArray[np.float32]
    baseline: NDArray[np.float32]
    total: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, part: slice) -> Readout:
        """Return the readout of some of the values only; all are needed for a weighted sum."""
        if self.weights is not None:
            return self
        names, loadings, baseline = self.names[part], self.loadings[:, part], self.baseline[part]
        return replace(self, names=names, loadings=loadings, baseline=baseline)

    def __call__(self, stored: NDArray[Any], valid: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute values (k, h, w), or (1, h, w) for a weighted sum, from stored latent values (C, h, w).

        They are NaN where the share `valid` (h, w) is 0.
        """
        result = np.full((len(self), valid.size), np.nan, np.float32)
        with_data = np.flatnonzero(valid)
        if len(with_data):
            latent = stored.reshape(len(stored), -1)[:, with_data].astype(np.float32)
            if self.weights is None:
                result[:, with_data] = self._values(latent, slice(None))
            else:
                parts = (slice(start, start + _GENES) for start in range(0, len(self.weights), _GENES))
                result[:, with_data] = sum(self.weights[part] @ self._values(latent, part) for part in parts)
        return result.reshape(len(self), *valid.shape)

    def _values(self, latent: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        values = self.loadings[:, part].T @ latent + self.baseline[part, None]
        if self.total is not None:
            total = self.total[:-1] @ latent + self.total[-1]
            values = np.log1p(SCALE * np.divide(values, total, out=np.zeros_like(values), where=total > 0))
        return values


def genes_readout(store: FieldStore, genes: Sequence[str], log: bool) -> Readout:
    """Return the readout of the maps of genes; see `ExpressionField.genes`."""
    names = [genes] if isinstance(genes, str) else list(genes)
    if not names:
        raise FieldError("no gene is given; name at least one.")
    head, columns = store.head, gene_columns(store.head, names)
    loadings = (store.scale[:, None] * head.W[:, columns]).astype(np.float32)
    if not (log and head.kind == "rate"):
        return Readout(tuple(names), head.units, loadings, head.b[columns])
    total_loadings = store.scale * head.W.sum(axis=1, dtype=np.float64)
    total = np.append(total_loadings, head.b.sum(dtype=np.float64)).astype(np.float32)
    return Readout(tuple(names), _LOG_UNITS, loadings, head.b[columns], total)


def score_readout(store: FieldStore, weights: Mapping[str, float], log: bool) -> Readout:
    """Return the readout of the map of a weighted sum of genes; see `ExpressionField.score`."""
    names, factors = list(weights), np.array([float(weight) for weight in weights.values()])
    for name, weight in zip(names, factors, strict=True):
        if not math.isfinite(weight):
            raise FieldError(f"the gene {name!r} has the weight {weight}; weights must be finite.")
    genes = genes_readout(store, names, log)
    units = f"weighted sum of {genes.units}"
    if genes.total is not None:
        # The logarithm comes before the sum, so the value of every gene is needed.
        return replace(genes, names=("score",), units=units, weights=factors.astype(np.float32))
    head, columns = store.head, gene_columns(store.head, names)
    loadings = store.scale * (head.W[:, columns].astype(np.float64) @ factors)
    baseline = np.array([head.b[columns].astype(np.float64) @ factors])
    return Readout(("score",), units, loadings[:, None].astype(np.float32), baseline.astype(np.float32))


def lazy_map(store: FieldStore, readout: Readout, level: int, name: str) -> xarray.DataArray:
    """Return values as a lazy array (gene, y, x) with the coordinates of its pixels in um."""
    import xarray

    grid = store.level_grid(level)
    coords: dict[str, Any] = {"gene": list(readout.names)}
    for axis, start, count in (("y", grid.y_um, grid.height), ("x", grid.x_um, grid.width)):
        centers = start + (np.arange(count) + 0.5) * grid.pitch_um
        coords[axis] = xarray.Variable(axis, centers, {"units": "um"})
    attributes = {"units": readout.units, "pitch_um": grid.pitch_um, "level": level}
    attributes["slide"] = store.attributes.slide.name
    return xarray.DataArray(lazy_values(store, readout, level), coords, ("gene", "y", "x"), name, attributes)


def lazy_values(
    store: FieldStore, readout: Readout, level: int, shape: tuple[int, int] | None = None
) -> dask.array.Array:
    """Return values as a lazy array (k, h, w), cut like the store, so that each dask task reads its own chunks.

    If `shape` is larger than the level, pixels outside it are NaN.
    """
    import dask.array
    from dask.base import tokenize

    shape = shape or store.level_grid(level).shape
    side = block_side(store, level, len(readout))

    def block(block_info: Any = None) -> NDArray[np.float32]:
        (first, last), (top, bottom), (left, right) = block_info[None]["array-location"]
        return read_values(store, readout.take(slice(first, last)), level, Box(top, left, bottom - top, right - left))

    sizes = zip((len(readout), *shape), (_GENES, side, side), strict=True)
    chunks = tuple(tuple(min(step, size - start) for start in range(0, size, step)) for size, step in sizes)
    values = (readout.loadings, readout.baseline, readout.total, readout.weights, level, shape)
    key = tokenize(as_text(store.path), store.attributes.made_from, *values)
    # By this name dask recognises the same values, so that they are computed once, however often they are used.
    array: dask.array.Array = dask.array.map_blocks(  # type: ignore[no-untyped-call]
        block, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32), name=f"field-{key}"
    )
    return array


def read_values(store: FieldStore, readout: Readout, level: int, box: Box) -> NDArray[np.float32]:
    """Compute the values (k, h, w) of a box of pixels; those outside the field are NaN."""
    rows, cols = store.level_grid(level).shape
    height, width = max(min(box.height, rows - box.row), 0), max(min(box.width, cols - box.col), 0)
    if not (height and width):
        return np.full((len(readout), box.height, box.width), np.nan, np.float32)
    values = readout(*store.read(Box(box.row, box.col, height, width), level))
    missing = ((0, 0), (0, box.height - height), (0, box.width - width))
    return np.pad(values, missing, constant_values=np.nan) if np.any(missing) else values


def block_side(store: FieldStore, level: int, values: int) -> int:
    """Return the side of the boxes in which a level is read: a shard, or the part of it that fits in memory."""
    array = store.levels[level].latent
    chunk = array.chunks[1]
    shard = (array.shards or array.chunks)[1]
    room = math.isqrt(_BLOCK_VALUES // (store.head.channels + min(values, _GENES)))
    return max(side for side in range(chunk, shard + 1, chunk) if shard % side == 0 and side <= max(room, chunk))
