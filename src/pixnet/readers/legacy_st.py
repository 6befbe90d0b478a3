"""Legacy Spatial Transcriptomics arrays: a table of counts, a table of spot positions, and the image.

The files state no pixel size. It follows from the pitch of the array: the spots are printed a known distance apart,
and the spot file says how many pixels that is.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.formats.count_table import read_counts
from pixnet.readers.formats.image_transform import GivenTransform, ImageTransform
from pixnet.readers.formats.pitch import pitch_in_pixels
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.slide import Slide
from pixnet.slide.pixel_size import AGREES

_AXES_AGREE = 0.02

Spot = tuple[int, int]


@dataclass(frozen=True)
class _Positions:
    """Spots of a spot file: array coordinates as printed and as measured, and pixels of the full-resolution image."""

    keys: list[Spot]
    array: NDArray[np.float64]
    pixels: NDArray[np.float64]
    selected: NDArray[np.bool_]


def read_legacy_st(
    image: str | Path,
    counts: str | Path,
    spots: str | Path,
    *,
    id: str | None = None,
    donor: str | None = None,
    spot_diameter_um: float = 100.0,
    spot_pitch_um: float = 200.0,
    mpp: float | None = None,
    mpp_source: str | None = None,
    image_transform: GivenTransform = None,
) -> Sample:
    """Read a section that was measured on a legacy ST array.

    Parameters
    ----------
    image
        H&E image that the pixels of the spot file refer to.
    counts
        TSV, plain or gzipped: a row for each spot, called `XxY` by its place in the array; a column for each gene.
    spots
        TSV with the columns `x`, `y` (place in the array), `pixel_x`, `pixel_y` (place in the image), and
        optionally `new_x`, `new_y` (adjusted place in the array) and `selected` (1 where the spot is under tissue).
    id
        Name of the sample; by default that of the counts file.
    donor
        The person that the tissue is from.
    spot_diameter_um, spot_pitch_um
        Diameter of a spot and distance between neighbours, in um.
    mpp
        um per pixel of the image. By default it follows from the pitch.
    mpp_source
        Where `mpp` is from, if not from an argument.
    image_transform
        Where `image` is not the one that the positions were written for: CSV file of, or array with, the (3, 3) matrix
        from pixels of that one to pixels of `image`. It turns, scales and shifts.

    Returns
    -------
    Sample
        With a disk for each spot that has both counts and a position, in the order of the counts file.

    Raises
    ------
    DataError
        If a file is missing or unreadable, if counts or positions are no such table, if no spot is in both, if the
        positions give no pitch or contradict `mpp` by over 5 %, or if spots lie outside the image.
    SlideError
        If the image cannot be read.
    """
    counts, spots = Path(counts), Path(spots)
    for name, value in (("spot_diameter_um", spot_diameter_um), ("spot_pitch_um", spot_pitch_um)):
        if not (np.isfinite(value) and value > 0):
            raise DataError(f"{spots}: {name} must be a positive number of um, not {value!r}.")
    name = id or counts.name.split(".")[0]
    positions = _read_spots(spots, ImageTransform.of(image_transform))
    size, source = _pixel_size(spots, positions, spot_pitch_um, mpp, mpp_source)
    slide = Slide.open(image, size, source)
    names, genes, matrix = read_counts(counts)
    rows, places = _join(name, counts, spots, _array_places(counts, names), positions)
    kept = [positions.keys[place] for place in places]
    table = Counts(
        matrix[rows],
        pd.Index(genes),
        names=pd.Index([_label(spot) for spot in kept]),
        obs=pd.DataFrame({"array_x": [x for x, _ in kept], "array_y": [y for _, y in kept]}),
    )
    disks = Disks(positions.pixels[places] * slide.mpp, spot_diameter_um)
    try:
        return Sample(name, slide, disks, table, donor, "legacy-st")
    except DataError as error:
        raise DataError(f"{counts} with {spots}: {error}") from error


def _read_spots(path: Path, transform: ImageTransform) -> _Positions:
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Give the path of the spot file."
        ) from error
    except (ValueError, EOFError, pd.errors.ParserError) as error:
        raise DataError(
            f"{path}: is no table of spots ({str(error).splitlines()[0]}). Give a TSV with a header."
        ) from error
    missing = [column for column in ("x", "y", "pixel_x", "pixel_y") if column not in table]
    if missing:
        found = ", ".join(map(repr, table.columns[:8]))[:200]
        raise DataError(
            f"{path}: has no column {missing[0]!r}; found {found}. "
            "A spot file is a TSV with the columns x, y, pixel_x and pixel_y."
        )
    if table.empty:
        raise DataError(f"{path}: holds a header but no spots.")
    adjusted = "new_x" in table and "new_y" in table
    printed = _numbers(path, table, ["x", "y"])
    selected = np.ones(len(table), bool)
    if "selected" in table:
        selected = _numbers(path, table, ["selected"])[:, 0] == 1
        if not selected.any():
            raise DataError(
                f"{path}: no spot is selected; the column 'selected' must be 1 where a spot is under tissue."
            )
    keys = [(int(x), int(y)) for x, y in np.rint(printed)]
    _check_unique(path, keys)
    array = _numbers(path, table, ["new_x", "new_y"]) if adjusted else printed
    pixels = transform.points(_numbers(path, table, ["pixel_x", "pixel_y"]))
    return _Positions(keys, array, pixels, selected)


def _numbers(path: Path, table: pd.DataFrame, columns: list[str]) -> NDArray[np.float64]:
    """Give columns as numbers, and name the first cell that is none."""
    values = np.empty((len(table), len(columns)))
    for index, column in enumerate(columns):
        values[:, index] = pd.to_numeric(table[column], errors="coerce")
        bad = np.flatnonzero(~np.isfinite(values[:, index]))
        if len(bad):
            cell = table[column].iloc[bad[0]]
            raise DataError(f"{path}: line {bad[0] + 2} has {cell!r} as {column}; it must be a number.")
    return values


def _array_places(path: Path, names: list[str]) -> list[Spot]:
    """Read rows called `XxY`; adjusted coordinates such as `7.97x12.04` are rounded to their place in the array."""
    places = []
    for name in names:
        x, _, y = name.partition("x")
        try:
            places.append((round(float(x)), round(float(y))))
        except (ValueError, OverflowError):
            raise DataError(
                f"{path}: a row is called {name[:40]!r}; rows must be called by place in the array, as in '10x13'."
            ) from None
    _check_unique(path, places)
    return places


def _check_unique(path: Path, keys: list[Spot]) -> None:
    seen: set[Spot] = set()
    for x, y in keys:
        if (x, y) in seen:
            raise DataError(f"{path}: the spot {x}x{y} occurs more than once. Leave one row for each spot.")
        seen.add((x, y))


def _join(
    name: str, counts: Path, spots: Path, counted: list[Spot], positions: _Positions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match counts and positions; tell how many have no partner."""
    place_of = {key: i for i, key in enumerate(positions.keys) if positions.selected[i]}
    rows = [i for i, key in enumerate(counted) if key in place_of]
    if not rows:
        swapped = any((y, x) in place_of for x, y in counted)
        hint = "x and y may be swapped in one of them." if swapped else "They may belong to different sections."
        raise DataError(
            f"{counts}: none of its {len(counted)} spots is among the {len(place_of)} of {spots} "
            f"(such as {_label(counted[0])} and {_label(next(iter(place_of)))}). {hint}"
        )
    without_position, without_counts = len(counted) - len(rows), len(place_of) - len(rows)
    alone = [(without_position, "spots with counts have no position")]
    alone += [(without_counts, "spots with a position have no counts")]
    if told := " and ".join(f"{count} {what}" for count, what in alone if count):
        warnings.warn(
            f"sample {name!r}: {told}; they are left out, {len(rows)} remain.",
            PixNetWarning,
            stacklevel=3,
        )
    return np.array(rows), np.array([place_of[counted[i]] for i in rows])


def _label(spot: Spot) -> str:
    return f"{spot[0]}x{spot[1]}"


def _pixel_size(
    path: Path, positions: _Positions, pitch_um: float, mpp: float | None, mpp_source: str | None
) -> tuple[float, str]:
    """Settle the pixel size: the caller's, if the pitch does not contradict it, else the pitch's."""
    pitch_px = pitch_in_pixels(positions.array, positions.pixels)
    if isinstance(pitch_px, str):
        if mpp is not None:
            return mpp, mpp_source or "argument"
        raise DataError(f"{path}: {pitch_px}, so it gives no pixel size. Check the file, or give `mpp` (--mpp).")
    x, y = pitch_px
    if abs(x - y) > _AXES_AGREE * max(x, y):
        raise DataError(
            f"{path}: neighbouring spots are {x:.1f} pixels apart along x and {y:.1f} along y, but must be equally far "
            "apart. The positions may belong to an image that was stretched, or the columns may be mixed up."
        )
    measured = pitch_um / float(np.sqrt(x * y))
    if mpp is None:
        return measured, "spot pitch"
    if abs(mpp - measured) > AGREES * measured:
        raise DataError(
            f"{path}: a pitch of {pitch_um:g} um means {measured:.4g} um per pixel, but {mpp:.4g} was given "
            f"({mpp_source or 'argument'}). Give that of the image that the pixels refer to as `mpp` (--mpp), "
            "or the right pitch as `spot_pitch_um` (--set spot_pitch_um=UM)."
        )
    return mpp, mpp_source or "argument"
