"""The lattice of Visium HD: bins as whole numbers, their place on the image, and the pooling of small bins to large.

Ten million bins never get a name or a geometry each. A barcode such as `s_002um_00123_00456-1` states the row and the
column of its bin; the positions file determines the position of the lattice on the image, which takes a few numbers.

Space Ranger registers the chip on the image by a projective map, so that a true lattice of squares may be off by some
micrometres at a corner. The perspective is fitted apart from the turn and the scale, which determine the pixel size.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.common import check_sound
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
_TRIED = 1000  # barcodes among which one of the right form must be
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
    fitted to the bins under tissue. `odd` is the number of rows that are left out.
    """

    state: NDArray[np.uint8]
    lattice: Lattice
    odd: int


def parse_barcodes(path: Path, barcodes: NDArray[np.bytes_]) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Read row and column, shape (n,) each, of bins from their barcodes, and which barcodes are valid.

    Valid are those of the form that most of the first ones have, if no other names the same bin. At least half of them
    must be.
    """
    rows, cols = np.zeros(len(barcodes), np.int32), np.zeros(len(barcodes), np.int32)
    valid = np.zeros(len(barcodes), bool)
    matches = [match for barcode in barcodes[:_TRIED] if (match := _BARCODE.fullmatch(barcode))]
    forms = Counter((match[1], match.span(2), match.span(3)) for match in matches)
    if not forms:
        if not len(barcodes):
            return rows, cols, valid
        raise DataError(
            f"{path}: has the barcode {_shown(barcodes[0])}; barcodes of Visium HD bins are like "
            "'s_008um_00123_00456-1'. Give a folder called square_XXXum of Space Ranger's binned_outputs."
        )
    start_of_all, (row_start, row_end), (col_start, col_end) = forms.most_common(1)[0][0]
    head = np.frombuffer(start_of_all, np.uint8)
    for start in range(0, len(barcodes), _BATCH):
        part = np.ascontiguousarray(barcodes[start : start + _BATCH])
        letters = part.view(np.uint8).reshape(len(part), -1)
        row, good = _number(letters[:, row_start:row_end])
        col, good_col = _number(letters[:, col_start:col_end])
        good &= good_col & (letters[:, :row_start] == head).all(axis=1) & (letters[:, row_end] == ord("_"))
        if letters.shape[1] > col_end:  # nothing or the library's number follows
            good &= np.isin(letters[:, col_end], (0, ord("-")))
        good &= (row < MOST_BINS) & (col < MOST_BINS)
        valid[start : start + _BATCH] = good
        rows[start : start + _BATCH], cols[start : start + _BATCH] = np.where(good, row, 0), np.where(good, col, 0)
    seen = np.zeros((int(rows.max()) + 1, int(cols.max()) + 1), bool)
    seen[rows[valid], cols[valid]] = True
    if np.count_nonzero(seen) < np.count_nonzero(valid):
        valid &= ~_repeated(np.where(valid, rows, -1), np.where(valid, cols, np.arange(len(cols))))
    check_sound(
        path,
        ~valid,
        lambda row: (
            f"has the barcode {_shown(barcodes[row])}, unlike {_shown(matches[0][0])} or of the same bin as another"
        ),
        "Copy it again.",
    )
    return rows, cols, valid


def _repeated(rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which places of the lattice come more than once."""
    key = pd.Series(rows.astype(np.int64) * (1 << 32) + cols)
    return np.asarray(key.duplicated(keep=False).to_numpy(), np.bool_)


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
    bins = odd = 0
    for batch in file.iter_batches(batch_size=_BATCH, columns=_COLUMNS):
        columns = np.stack([_numbers(batch, name) for name in _COLUMNS])
        _, row, col, _, _ = columns
        with np.errstate(invalid="ignore"):
            good = (np.abs(columns) <= _LARGEST).all(axis=0) & (np.minimum(row, col) >= 0)
            good &= (row == np.floor(row)) & (col == np.floor(col)) & (np.maximum(row, col) < MOST_BINS)
        bins, odd = bins + len(good), odd + int(np.count_nonzero(~good))
        tissue, row, col, y, x = columns[:, good]
        r, c = row.astype(np.int64), col.astype(np.int64)
        if len(r):
            state = _grown(state, int(r.max()) + 1, int(c.max()) + 1)
        # A place that comes again may be another bin's, so none of its rows is used.
        again = (state[r, c] != NO_POSITION) | _repeated(r, c)
        state[r, c] = np.where((tissue == 1) & ~again, ON_TISSUE, OFF_TISSUE)
        odd += int(np.count_nonzero(again))
        on = np.flatnonzero((tissue == 1) & ~again)[::stride]
        pixels = transform.points(np.stack([x[on], y[on]], axis=1))
        sample.append(np.column_stack([r[on], c[on], pixels]))
    if 2 * odd > bins:
        raise DataError(
            f"{path}: {odd} of {bins} rows have a value that is missing or out of range, or repeat the place of "
            "another bin. Copy it again."
        )
    if not sum(map(len, sample)):
        raise DataError(f"{path}: none of its {bins} bins is under tissue (in_tissue = 1).")
    fitted = fit_lattice(np.concatenate(sample))
    if isinstance(fitted, str):
        raise DataError(f"{path}: {fitted}.")
    return Positions(state, fitted, odd)


def _numbers(batch: Any, name: str) -> Floats:
    column = pd.Series(batch.column(name).to_numpy(zero_copy_only=False))
    return np.asarray(pd.to_numeric(column, errors="coerce"), np.float64)


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
