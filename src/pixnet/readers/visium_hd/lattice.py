"""The lattice of Visium HD: bins as whole numbers, their place on the image, and the pooling of small bins to large.

Ten million bins never get a name or a geometry each. A barcode such as `s_002um_00123_00456-1` states the row and the
column of its bin; the positions file determines the position of the lattice on the image, which takes a few numbers.

Space Ranger registers the chip on the image by a projective map, so that a true lattice of squares may be off by some
micrometres at a corner. The perspective is fitted apart from the turn and the scale, which determine the pixel size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.formats.image_transform import ImageTransform
from pixnet.readers.formats.parquet import open_parquet
from pixnet.regions.coverage_edges import projected

NO_POSITION, OFF_TISSUE, ON_TISSUE = 0, 1, 2
MOST_BINS = 1 << 14  # rows or columns; the largest capture area has a third of that
_LARGEST = 1e7  # no image has so many pixels a side
_BATCH = 1 << 20  # barcodes or positions worked on at once
_FIT = 200_000  # about as many positions the lattice is fitted to
_COLUMNS = ["in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
_ROUNDING = 1e-3  # of a side: by how much a lattice may be off without being bent
_FEW = 8  # bins that a perspective, with its eight numbers, would fit in any case
_BETTER = 0.5  # share of the lattice's distance from the positions that a perspective may leave at most
_SAME = ImageTransform()
_BARCODE = re.compile(rb"(s_\d+um_)(\d+)_(\d+)(-\d+)?")

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lattice:
    """Position of the lattice on the image, by least squares, in full-resolution pixels.

    `x_px` and `y_px` are the corner of row 0 and column 0, `side_px` is the side of a bin, and `angle_deg` the turn
    from x towards y. If `mirrored`, columns run against x once the turn is undone, so that column c is -c - 1 of an
    unmirrored lattice. `perspective` is the (3, 3) projective matrix from pixels of that lattice to pixels of the
    image, and `mean_off_px` and `most_off_px` are distances of the stated positions from those of the lattice with it.
    """

    x_px: float
    y_px: float
    side_px: float
    angle_deg: float
    mirrored: bool
    mean_off_px: float
    most_off_px: float
    perspective: Floats | None = None


@dataclass(frozen=True)
class Positions:
    """The content of a positions file.

    `state` is NO_POSITION, OFF_TISSUE or ON_TISSUE for each place of the lattice, shape (rows, columns); the lattice is
    fitted to the bins under tissue.
    """

    state: NDArray[np.uint8]
    lattice: Lattice


def parse_barcodes(path: Path, barcodes: NDArray[np.bytes_]) -> tuple[Ints, Ints]:
    """Read row and column, shape (n,) each, of bins from their barcodes, which must be of one form, and each once."""
    rows, cols = np.empty(len(barcodes), np.int32), np.empty(len(barcodes), np.int32)
    if not len(barcodes):
        return rows, cols
    match = _BARCODE.fullmatch(barcodes[0])
    if match is None:
        raise DataError(
            f"{path}: has the barcode {_shown(barcodes[0])}; barcodes of Visium HD bins are like "
            "'s_008um_00123_00456-1'. Give a folder called square_XXXum of Space Ranger's binned_outputs."
        )
    (row_start, row_end), (col_start, col_end) = match.span(2), match.span(3)
    head = np.frombuffer(match[0][:row_start], np.uint8)
    for start in range(0, len(barcodes), _BATCH):
        part = np.ascontiguousarray(barcodes[start : start + _BATCH])
        letters = part.view(np.uint8).reshape(len(part), -1)
        row, valid = _number(letters[:, row_start:row_end])
        col, valid_col = _number(letters[:, col_start:col_end])
        valid &= valid_col & (letters[:, :row_start] == head).all(axis=1) & (letters[:, row_end] == ord("_"))
        if letters.shape[1] > col_end:  # nothing or the library's number follows
            valid &= np.isin(letters[:, col_end], (0, ord("-")))
        valid &= (row < MOST_BINS) & (col < MOST_BINS)
        if not valid.all():
            other = part[int(np.argmin(valid))]
            raise DataError(
                f"{path}: has the barcodes {_shown(barcodes[0])} and {_shown(other)}, which differ in form. Copy it "
                "again."
            )
        rows[start : start + _BATCH], cols[start : start + _BATCH] = row, col
    seen = np.zeros((int(rows.max()) + 1, int(cols.max()) + 1), bool)
    seen[rows, cols] = True
    if np.count_nonzero(seen) < len(rows):
        raise DataError(
            f"{path}: {len(rows) - np.count_nonzero(seen)} barcodes name the same bin as another one. Copy it again."
        )
    return rows, cols


def _number(letters: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Read letters, shape (n, digits), as numbers, and return which rows consist of digits only."""
    digits = letters - np.uint8(ord("0"))  # anything below '0' wraps round to something large
    value = np.zeros(len(letters), np.int64)
    for digit in digits.T[-9:]:
        value = 10 * value + digit
    return value, (digits <= 9).all(axis=1) & (digits[:, :-9] == 0).all(axis=1)


def _shown(barcode: bytes) -> str:
    return repr(barcode[:40].decode("ascii", "replace"))


def read_positions(path: Path, transform: ImageTransform = _SAME) -> Positions:
    """Read `tissue_positions.parquet` in batches, without the barcodes in it, and transform it to the given image."""
    with open_parquet(path, _COLUMNS, "a table of positions") as file:
        return _read_batches(path, file, transform)


def _read_batches(path: Path, file: Any, transform: ImageTransform) -> Positions:
    """Read the table once; store one byte for each bin and an even sample of the pixels of bins under tissue."""
    state = np.zeros((0, 0), np.uint8)
    # Rows are ordered, so every k-th one makes an even sample.
    stride = max(1, file.metadata.num_rows // _FIT)
    sample: list[Floats] = []
    bins = 0
    for batch in file.iter_batches(batch_size=_BATCH, columns=_COLUMNS):
        tissue, row, col, y, x = (_numbers(path, batch, name) for name in _COLUMNS)
        is_whole = (row == np.floor(row)) & (col == np.floor(col)) & (np.minimum(row, col) >= 0)
        if not (is_whole & (np.maximum(row, col) < MOST_BINS)).all():
            raise DataError(
                f"{path}: array_row and array_col must be whole numbers from 0 to {MOST_BINS - 1}. Copy it again."
            )
        r, c = row.astype(np.int64), col.astype(np.int64)
        if len(r):
            state = _grown(state, int(r.max()) + 1, int(c.max()) + 1)
        state[r, c] = np.where(tissue == 1, ON_TISSUE, OFF_TISSUE)
        bins += len(r)
        on = np.flatnonzero(tissue == 1)[::stride]
        pixels = transform.points(np.stack([x[on], y[on]], axis=1))
        sample.append(np.column_stack([r[on], c[on], pixels]))
    if np.count_nonzero(state) < bins:
        raise DataError(
            f"{path}: {bins - np.count_nonzero(state)} rows repeat the place of another bin. Copy it again."
        )
    if not sum(map(len, sample)):
        raise DataError(f"{path}: none of its {bins} bins is under tissue (in_tissue = 1).")
    fitted = fit_lattice(np.concatenate(sample))
    if isinstance(fitted, str):
        raise DataError(f"{path}: {fitted}.")
    return Positions(state, fitted)


def _numbers(path: Path, batch: Any, name: str) -> Floats:
    values = np.asarray(batch.column(name).to_numpy(zero_copy_only=False), np.float64)
    if not (np.abs(values) <= _LARGEST).all():
        raise DataError(f"{path}: column {name!r} has a value that is missing or out of range. Copy it again.")
    return values


def _grown(state: NDArray[np.uint8], rows: int, cols: int) -> NDArray[np.uint8]:
    if rows <= state.shape[0] and cols <= state.shape[1]:
        return state
    # An eighth more at once: rows come in order, and each batch brings new ones.
    needed = zip((rows, cols), state.shape, strict=True)
    larger = np.zeros([old if new <= old else new + new // 8 for new, old in needed], np.uint8)
    larger[: state.shape[0], : state.shape[1]] = state
    return larger


def fit_lattice(bins: Floats) -> Lattice | str:
    """Fit a turned, perhaps mirrored square lattice to the centres of bins, or return the reason why none fits.

    `bins` has row and column in the lattice, and x and y of the centre in pixels, shape (n, 4).
    """
    row, col, x, y = bins.T
    if np.linalg.matrix_rank(np.stack([row - row.mean(), col - col.mean()], axis=1)) < 2:
        return (
            "its bins under tissue are on one line, which does not determine the position of the lattice on the image"
        )
    place = x + 1j * y
    fits = []
    for mirrored in (False, True):
        # As complex numbers, turn and scale of a square lattice are one product.
        lattice = (-1 if mirrored else 1) * (col + 0.5) + 1j * (row + 0.5)
        centred = lattice - lattice.mean()
        step = complex(np.vdot(centred, place - place.mean()) / np.vdot(centred, centred).real)
        corner = complex(place.mean() - step * lattice.mean())
        flat = corner + step * lattice
        off = np.abs(flat - place)
        side, angle = abs(step), float(np.degrees(np.angle(step)))
        fit = Lattice(corner.real, corner.imag, side, angle, mirrored, float(off.mean()), float(off.max(initial=0)))
        fits.append((fit, flat))
    best, flat = min(fits, key=lambda pair: pair[0].mean_off_px)
    # Registration may bend a true lattice by a fraction of a percent; anything else has its columns mixed up.
    extent = best.side_px * float(np.hypot(np.ptp(row), np.ptp(col)))
    if not best.side_px > 0 or best.most_off_px > 0.01 * extent + 0.01 * best.side_px:
        return (
            "pxl_row_in_fullres and pxl_col_in_fullres do not follow array_row and array_col on a square lattice "
            f"(off by up to {best.most_off_px:.1f} px). The columns may be mixed up, or the file may be of another run"
        )
    return _with_perspective(best, np.stack([flat.real, flat.imag], axis=1), bins[:, 2:])


def _with_perspective(lattice: Lattice, flat: Floats, stated: Floats) -> Lattice:
    """Add the perspective that brings the lattice's positions to the stated ones, if the fit is far better with it."""
    if len(flat) < _FEW or lattice.mean_off_px <= _ROUNDING * lattice.side_px:
        return lattice
    # Least squares of u (g a + h b + 1) = p a + q b + r and likewise for v, in units in which all numbers are near 1.
    centre, scale = flat.mean(axis=0), float(np.abs(flat - flat.mean(axis=0)).max())
    (a, b), (u, v) = ((flat - centre) / scale).T, ((stated - centre) / scale).T
    ones, zeros = np.ones_like(a), np.zeros_like(a)
    along = np.stack([a, b, ones, zeros, zeros, zeros, -u * a, -u * b], axis=1)
    across = np.stack([zeros, zeros, zeros, a, b, ones, -v * a, -v * b], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(np.concatenate([along, across]), np.concatenate([u, v]), rcond=1e-9)
    if rank < 8:
        return lattice
    to_unit = np.array([[1 / scale, 0, -centre[0] / scale], [0, 1 / scale, -centre[1] / scale], [0, 0, 1]])
    matrix = np.linalg.inv(to_unit) @ np.append(solution, 1.0).reshape(3, 3) @ to_unit
    off = np.hypot(*(projected(flat, matrix) - stated).T)
    if not off.mean() <= _BETTER * lattice.mean_off_px:
        return lattice
    return replace(lattice, mean_off_px=float(off.mean()), most_off_px=float(off.max()), perspective=matrix)


def pool_bins(
    matrix: sparse.csr_matrix, rows: Ints, cols: Ints, factor: int, selected: NDArray[np.bool_]
) -> tuple[sparse.csr_matrix, Ints, Ints, Ints]:
    """Add up the counts, shape (n, g), of the selected bins in each larger bin, whose side is `factor` bins.

    Returns the matrix, row and column of the larger bins, row by row, and the number of bins in each.
    """
    row, col = rows // factor, cols // factor
    row[~selected], col[~selected] = 0, 0
    width = int(col.max(initial=0)) + 1
    key = row.astype(np.int64) * width + col
    bins = np.bincount(key[selected], minlength=1)
    places = np.flatnonzero(bins)
    number = np.cumsum(bins > 0, dtype=np.int32) - 1
    # A sparse product sums each row into its larger bin, without listing the entries as triplets.
    source = np.flatnonzero(selected).astype(np.int32)
    order = source[np.argsort(number[key[source]], kind="stable")]
    start = np.concatenate([[0], np.cumsum(bins[places])]).astype(np.int32)
    gather = sparse.csr_matrix((np.ones(len(order), np.float32), order, start), shape=(len(places), matrix.shape[0]))
    pooled = sparse.csr_matrix(gather @ matrix)
    pooled.sort_indices()
    row, col = np.divmod(places, width)
    return pooled, row.astype(np.int32), col.astype(np.int32), bins[places].astype(np.int32)
