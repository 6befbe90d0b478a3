"""Transcripts of a Xenium run, streamed from parquet and counted in regions; only one batch is in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.formats.image_transform import moved
from pixnet.readers.formats.parquet import parquet_batches
from pixnet.readers.formats.points_in_regions import Floats, Ints, finder
from pixnet.regions import Regions, Squares
from pixnet.sample.genes import CONTROL

_STRIDE = 1 << 22  # more genes than any panel has; a count's key is region * _STRIDE + gene
_MOST_SQUARES = 1 << 28
_TISSUE_UM = 20.0  # side of the blocks that distinguish tissue from bare glass


@dataclass
class Panel:
    """Columns of the genes by name, and the features that are known not to be genes.

    Controls that are recognised by their name need not be listed. If the panel is not closed, every new name becomes a
    gene.
    """

    column: dict[str, int] = field(default_factory=dict)
    controls: frozenset[str] = frozenset()
    closed: bool = False

    def codes(self, names: Sequence[str]) -> Ints:
        """Return the column of each feature: -1 for a control, -2 for one that is not in a closed panel."""
        return np.array([self._code(name) for name in names], np.int64)

    def _code(self, name: str) -> int:
        if name in self.column:
            return self.column[name]
        if name in self.controls or CONTROL.match(name):
            return -1
        if self.closed:
            return -2
        if len(self.column) >= _STRIDE - 1:
            raise DataError(f"there are over {_STRIDE - 1} genes. The names of the features may be damaged.")
        return self.column.setdefault(name, len(self.column))


@dataclass
class Seen:
    """Numbers of transcripts: all of them, and those that are not counted, by reason."""

    total: int = 0
    controls: int = 0
    unknown: int = 0
    low_quality: int = 0
    no_position: int = 0
    outside_slide: int = 0
    in_cut_squares: int = 0


@dataclass(frozen=True)
class Batch:
    """Some transcripts: positions on the slide in um, (k, 2), columns of their genes, and which of them count."""

    xy_um: Floats
    gene: Ints
    good: NDArray[np.bool_]
    extra: dict[str, Any]


@dataclass
class Transcripts:
    """The transcripts of a run, to be read once; `seen` is filled in on the way.

    `to_slide` is the (3, 3) matrix from the run's um to the slide's um; `size_um` is (width, height) of the slide;
    `min_quality` (Phred) is the least that counts.
    """

    path: Path
    to_slide: Floats
    size_um: tuple[float, float]
    panel: Panel
    min_quality: float
    seen: Seen = field(default_factory=Seen)

    def batches(self, numbers: Sequence[str] = (), texts: Sequence[str] = ()) -> Iterator[Batch]:
        """Yield the transcripts with a position, of any quality, with further columns as in `parquet_batches`."""
        position = ["x_location", "y_location"]
        for table in parquet_batches(self.path, [*position, "qv", *numbers], ["feature_name", *texts]):
            xy = moved(np.column_stack([table[name] for name in position]), self.to_slide)
            names, code = table["feature_name"]
            gene = np.append(self.panel.codes(names), -2)[code]
            placed = np.isfinite(xy).all(axis=1)
            certain = table["qv"] >= self.min_quality
            good = placed & (gene >= 0) & certain
            outside = good & ~inside(xy, self.size_um)
            seen = self.seen
            seen.total += len(gene)
            seen.controls += int((gene == -1).sum())
            seen.unknown += int((gene == -2).sum())
            seen.low_quality += int(((gene >= 0) & ~certain).sum())
            seen.no_position += int(((gene >= 0) & certain & ~placed).sum())
            seen.outside_slide += int(outside.sum())
            extra = {name: table[name][placed] for name in numbers}
            extra |= {name: (table[name][0], table[name][1][placed]) for name in texts}
            yield Batch(xy[placed], gene[placed], good[placed], extra)


def count_in(regions: Regions, transcripts: Transcripts) -> sparse.csr_matrix:
    """Count the transcripts in each region, float32, shape (n, genes); one that is in two regions counts in both."""
    find, tally = finder(regions), Tally()
    for batch in transcripts.batches():
        point, region = find(batch.xy_um[batch.good])
        tally.add(region, batch.gene[batch.good][point])
    return tally.matrix(np.arange(len(regions)), len(transcripts.panel.column))


def count_by_cell(names: Sequence[str], transcripts: Transcripts) -> sparse.csr_matrix:
    """Count the transcripts that the run itself assigns to the nuclei of cells, float32, shape (n, genes)."""
    row, tally = {name: index for index, name in enumerate(names)}, Tally()
    for batch in transcripts.batches(["overlaps_nucleus"], ["cell_id"]):
        cells, code = batch.extra["cell_id"]
        owner = np.append(np.array([row.get(cell, -1) for cell in cells], np.int64), -1)[code]
        counted = batch.good & (owner >= 0) & (batch.extra["overlaps_nucleus"] > 0)
        tally.add(owner[counted], batch.gene[counted])
    return tally.matrix(np.arange(len(names)), len(transcripts.panel.column))


def count_in_squares(side_um: float, transcripts: Transcripts) -> tuple[Squares, sparse.csr_matrix]:
    """Bin the transcripts to upright squares of the slide, starting at its top-left corner; counts are float32 CSR.

    On tissue, a square without a transcript is a measurement too. So all squares are included of every block of at
    least 20 um in which anything was decoded (of any quality, including controls), if their centres are on the slide
    and within the extent of the run.
    """
    n_rows, n_cols = (max(math.ceil(extent / side_um - 0.5), 1) for extent in transcripts.size_um[::-1])
    if n_rows * n_cols >= 1 << 40:
        raise DataError(f"squares of {side_um:g} um are too many for this slide. Give a larger side.")
    span = max(1, math.ceil(_TISSUE_UM / side_um - 1e-9))
    blocks_across = n_cols // span + 1
    tally, blocks, low, high = Tally(), np.empty(0, np.int64), np.full(2, np.inf), np.full(2, -np.inf)
    back: Floats = np.linalg.inv(transcripts.to_slide).astype(np.float64)
    for batch in transcripts.batches():
        with np.errstate(over="ignore", invalid="ignore"):
            place = np.floor(batch.xy_um / side_um)
        in_square = ((place >= 0) & (place < (n_cols, n_rows))).all(axis=1)
        col, row = place[in_square].astype(np.int64).T
        good = batch.good[in_square]
        on_slide = inside(batch.xy_um, transcripts.size_um)
        transcripts.seen.in_cut_squares += int((batch.good & on_slide & ~in_square).sum())
        tally.add(row[good] * n_cols + col[good], batch.gene[in_square][good])
        blocks = _distinct(blocks, row // span * blocks_across + col // span)
        run = moved(batch.xy_um[in_square], back)
        low, high = np.minimum(low, run.min(axis=0, initial=np.inf)), np.maximum(high, run.max(axis=0, initial=-np.inf))
    if len(blocks) * span**2 > _MOST_SQUARES:
        raise DataError(f"{len(blocks) * span**2} squares of {side_um:g} um are too many. Give a larger side.")
    top, left = (part[:, None, None] * span for part in np.divmod(blocks, blocks_across))
    rows, cols = np.broadcast_arrays(top + np.arange(span)[:, None], left + np.arange(span))
    rows, cols = rows.ravel(), cols.ravel()
    run = moved((np.column_stack([cols, rows]) + 0.5) * side_um, back)
    measured = (rows < n_rows) & (cols < n_cols) & ((run >= low) & (run <= high)).all(axis=1)
    # A square at the rim of the run that has a transcript is included, wherever its centre is.
    keys = _distinct((rows * n_cols + cols)[measured], tally.rows())
    squares = Squares(0.0, 0.0, side_um, keys // n_cols, keys % n_cols)
    return squares, tally.matrix(keys, len(transcripts.panel.column))


def inside(xy_um: Floats, size_um: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which points are on a slide of that width and height."""
    return np.asarray(((xy_um >= 0) & (xy_um <= size_um)).all(axis=1), np.bool_)


class Tally:
    """Counts of pairs of row and gene, added up as they come in."""

    def __init__(self) -> None:
        self._key = np.empty(0, np.int64)
        self._count = np.empty(0, np.int64)
        self._waiting: list[tuple[Ints, Ints]] = []
        self._n_waiting = 0

    def add(self, rows: Ints, genes: Ints) -> None:
        """Count one more for each pair."""
        self._waiting.append(np.unique(rows * _STRIDE + genes, return_counts=True))
        self._n_waiting += len(self._waiting[-1][0])
        # Merged only when there is as much again, so that a number is moved only a few times.
        if self._n_waiting > max(len(self._key), 1 << 22):
            self._merge()

    def rows(self) -> Ints:
        """Return the rows that have a count, ascending."""
        self._merge()
        return _distinct(self._key // _STRIDE)

    def matrix(self, rows: Ints, n_genes: int) -> sparse.csr_matrix:
        """Return the counts of rows, ascending, as float32 CSR; all rows that have a count must be among them."""
        self._merge()
        row = np.searchsorted(rows, self._key // _STRIDE)
        starts = np.searchsorted(row, np.arange(len(rows) + 1))
        parts = self._count.astype(np.float32), (self._key % _STRIDE).astype(np.int32), starts
        return sparse.csr_matrix(parts, shape=(len(rows), n_genes))

    def _merge(self) -> None:
        key = np.concatenate([self._key, *(key for key, _ in self._waiting)])
        count = np.concatenate([self._count, *(count for _, count in self._waiting)])
        self._waiting, self._n_waiting = [], 0
        order = np.argsort(key, kind="stable")
        key, count = key[order], count[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        self._key, self._count = key[first], np.add.reduceat(count, first) if len(first) else count


def _distinct(*values: Ints) -> Ints:
    """Return the distinct values of all arrays, ascending; `numpy.unique`, which hashes, is many times slower here."""
    ordered: Ints = np.sort(np.concatenate(values))
    distinct: Ints = ordered[np.diff(ordered, prepend=-1) != 0]
    return distinct
