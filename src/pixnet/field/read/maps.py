"""Maps of genes and signatures, read off a field lazily, at any level of its pyramid."""

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
from pixnet.grid import Box, Grid

if TYPE_CHECKING:
    import dask.array
    import xarray

_BLOCK_VALUES = 1 << 24  # latent values and maps that one piece of work holds: 64 MB
_GENES = 32  # maps that one piece of work gives, at most
_LOG_UNITS = "log1p of counts per 10,000"


@dataclass(frozen=True, eq=False)
class Readout:
    """What is wanted of every cell: k values, linear in the latent map unless there is a logarithm.

    Parameters
    ----------
    names, units
        Names of the values, and what they are measured in.
    loadings, baseline
        (C, k) and (k,): the values are `loadings.T @ stored + baseline`.
    total
        (C + 1,) loadings and baseline of the sum over all outputs; given where the logarithm of the values' shares
        in it is wanted.
    weights
        (k,), where not the k values but only their weighted sum is wanted, after the logarithm.
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
        """Give some of the values only."""
        if self.weights is not None:
            return self
        names, loadings, baseline = self.names[part], self.loadings[:, part], self.baseline[part]
        return replace(self, names=names, loadings=loadings, baseline=baseline)

    def __call__(self, stored: NDArray[Any], valid: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the values (k or 1, h, w) of stored cells (C, h, w), NaN where `valid` is 0."""
        result = np.full((len(self), valid.size), np.nan, np.float32)
        chosen = np.flatnonzero(valid)
        if len(chosen):
            cells = stored.reshape(len(stored), -1)[:, chosen].astype(np.float32)
            if self.weights is None:
                result[:, chosen] = self._values(cells, slice(None))
            else:
                parts = (slice(start, start + _GENES) for start in range(0, len(self.weights), _GENES))
                result[:, chosen] = sum(self.weights[part] @ self._values(cells, part) for part in parts)
        return result.reshape(len(self), *valid.shape)

    def _values(self, cells: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        values = self.loadings[:, part].T @ cells + self.baseline[part, None]
        if self.total is not None:
            total = self.total[:-1] @ cells + self.total[-1]
            values = np.log1p(SCALE * np.divide(values, total, out=np.zeros_like(values), where=total > 0))
        return values


def genes_readout(store: FieldStore, genes: Sequence[str], log: bool) -> Readout:
    """Ask for the maps of genes; see `ExpressionField.genes`."""
    names = [genes] if isinstance(genes, str) else list(genes)
    if not names:
        raise FieldError("no gene was asked for; name at least one.")
    head, columns = store.head, gene_columns(store.head, names)
    loadings = (store.scale[:, None] * head.W[:, columns]).astype(np.float32)
    shares = log and head.kind == "rate"
    units = _LOG_UNITS if shares else head.units
    return Readout(tuple(names), units, loadings, head.b[columns], _total(store) if shares else None)


def score_readout(store: FieldStore, weights: Mapping[str, float], log: bool) -> Readout:
    """Ask for the map of a weighted sum of genes; see `ExpressionField.score`."""
    given = {name: float(weight) for name, weight in dict(weights).items()}
    for name, weight in given.items():
        if not math.isfinite(weight):
            raise FieldError(f"the gene {name!r} has the weight {weight}; give finite numbers.")
    genes = genes_readout(store, list(given), log)
    factors, units = np.array(list(given.values())), f"weighted sum of {genes.units}"
    if genes.total is not None:
        # The logarithm comes before the sum, so every gene has to be known.
        return replace(genes, names=("score",), units=units, weights=factors.astype(np.float32))
    head, columns = store.head, gene_columns(store.head, list(given))
    loadings = store.scale * (head.W[:, columns].astype(np.float64) @ factors)
    baseline = np.array([head.b[columns].astype(np.float64) @ factors])
    return Readout(("score",), units, loadings[:, None].astype(np.float32), baseline.astype(np.float32))


def _total(store: FieldStore) -> NDArray[np.float32]:
    head = store.head
    loadings = store.scale * head.W.sum(axis=1, dtype=np.float64)
    return np.append(loadings, head.b.sum(dtype=np.float64)).astype(np.float32)


def lazy_map(store: FieldStore, readout: Readout, level: int, name: str) -> xarray.DataArray:
    """Give values as a lazy array (value, y, x) that knows where its cells lie.

    Parameters
    ----------
    store, readout
        The field, and what is wanted of its cells.
    level
        Level of the pyramid.
    name
        Name of the array.
    """
    import xarray

    grid = checked_grid(store, level)
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
    """Give values as a lazy array (k, h, w), cut as the store is, so that each piece of work reads its own chunks.

    With a `shape` beyond the level's, the cells that the field has not got are NaN.
    """
    import dask.array
    from dask.base import tokenize

    shape = shape or checked_grid(store, level).shape
    side = block_side(store, level, len(readout))

    def block(block_info: Any = None) -> NDArray[np.float32]:
        (first, last), (top, bottom), (left, right) = block_info[None]["array-location"]
        return read_values(store, readout.take(slice(first, last)), level, Box(top, left, bottom - top, right - left))

    sizes = zip((len(readout), *shape), (_GENES, side, side), strict=True)
    chunks = tuple(tuple(min(step, size - start) for start in range(0, size, step)) for size, step in sizes)
    asked = (readout.loadings, readout.baseline, readout.total, readout.weights, level, shape)
    key = tokenize(str(store.path), store.attributes.made_from, *asked)
    # It gives its values a name, so the same ones are computed once however often they are asked for.
    made: dask.array.Array = dask.array.map_blocks(  # type: ignore[no-untyped-call]
        block, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32), name=f"field-{key}"
    )
    return made


def read_values(store: FieldStore, readout: Readout, level: int, box: Box) -> NDArray[np.float32]:
    """Read the values (k, h, w) of a box of cells; what lies beyond the field is NaN."""
    rows, cols = store.level_grid(level).shape
    height, width = max(min(box.height, rows - box.row), 0), max(min(box.width, cols - box.col), 0)
    if not (height and width):
        return np.full((len(readout), box.height, box.width), np.nan, np.float32)
    values = readout(*store.read(Box(box.row, box.col, height, width), level))
    missing = ((0, 0), (0, box.height - height), (0, box.width - width))
    return np.pad(values, missing, constant_values=np.nan) if np.any(missing) else values


def block_side(store: FieldStore, level: int, values: int) -> int:
    """Give the side of the boxes that a level is read in: a whole shard, or the part of it that memory allows."""
    array = store.levels[level].latent
    chunk = array.chunks[1]
    shard = (array.shards or array.chunks)[1]
    room = math.isqrt(_BLOCK_VALUES // (store.head.channels + min(values, _GENES)))
    return max(side for side in range(chunk, shard + 1, chunk) if shard % side == 0 and side <= max(room, chunk))


def checked_grid(store: FieldStore, level: int) -> Grid:
    """Give the grid of a level.

    Raises
    ------
    FieldError
        If there is no such level.
    """
    levels = len(store.levels)
    if not 0 <= level < levels:
        first, last = store.grid.pitch_um, store.level_grid(levels - 1).pitch_um
        raise FieldError(
            f"{store.path} has no level {level}; there are 0 to {levels - 1}, with cells of {first:g} to {last:g} um."
        )
    return store.level_grid(level)
