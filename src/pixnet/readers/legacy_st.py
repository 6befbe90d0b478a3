"""Legacy Spatial Transcriptomics arrays: a table of counts, a table of spot positions, and the image.

The files state no pixel size. It follows from the pitch of the array: the spots are printed a known distance apart,
and the spot file states how many pixels that is. On arrays of the first generation they form a square lattice; on those
of the second, every other place of each row is empty, and the nearest spots are those of the next row.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.common import SampleOptions, agreed_pixel_size, errors_of, given_options, warn_once, weighed
from pixnet.readers.formats.count_table import read_counts
from pixnet.readers.formats.files import check_columns, read_plain_or_gzip
from pixnet.readers.formats.image_transform import ImageTransform
from pixnet.readers.formats.pitch import pitch_in_pixels, square_pitch
from pixnet.readers.platforms import LegacyStEntry
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.slide.pixel_size import PixelSize
from pixnet.slide.slide import open_slide

Spot = tuple[int, int]

_PITCH_UM = {False: 200.0, True: 150.0}  # of square and of staggered arrays
_FEW, _STRAY = 0.1, 0.02  # shares of the spots
_COLUMNS = ("x", "y", "pixel_x", "pixel_y")


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
    spot_diameter_um: float = 100.0,
    spot_pitch_um: float | None = None,
    **options: Unpack[SampleOptions],
) -> Sample:
    """Read a section that was measured on a legacy ST array.

    Parameters
    ----------
    image
        H&E image that the pixels of the spot file refer to.
    counts
        TSV file, plain or gzipped: a row for each spot, named `XxY` by its place in the array; a column for each gene.
    spots
        TSV file with the columns `x`, `y` (place in the array), `pixel_x`, `pixel_y` (place in the image), and
        optionally `new_x`, `new_y` (adjusted place in the array) and `selected` (1 if the spot is under tissue).
    spot_diameter_um, spot_pitch_um
        Diameter of a spot and distance between nearest neighbours, in um. By default they are 200 um apart on a square
        array, and 150 um on a staggered one.
    **options
        `id`, `donor`, `mpp` and `image_transform`, as in `SampleOptions`. By default `id` is the name of the counts
        file, and `mpp` follows from the pitch.

    Returns
    -------
    Sample
        With a disk for each spot that has both counts and a position, in the order of the counts file.

    Raises
    ------
    DataError
        If a file is missing or unreadable, if counts or positions are not such a table, if no spot is in both, if the
        positions give no pitch or contradict `mpp` by over 5 %, or if spots are outside the image.
    SlideError
        If the image cannot be read.
    """
    given = given_options(**options)
    counts, spots = Path(counts), Path(spots)
    for argument, value in (("spot_diameter_um", spot_diameter_um), ("spot_pitch_um", spot_pitch_um)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise DataError(f"{spots}: `{argument}` must be a positive number of um, not {value!r}.")
    name = given.id or counts.name.split(".")[0]
    positions = _read_spots(spots, given.transform)
    slide = open_slide(image, _pixel_size(spots, positions, spot_pitch_um, given.pixel))
    names, genes, matrix = read_counts(counts)
    rows, places, notes = _join(counts, spots, _array_places(counts, names), positions)
    warn_once(name, notes)
    keys = [positions.keys[place] for place in places]
    table = Counts(
        matrix[rows],
        pd.Index(genes),
        names=pd.Index([_label(spot) for spot in keys]),
        obs=pd.DataFrame({"array_x": [x for x, _ in keys], "array_y": [y for _, y in keys]}),
    )
    disks = Disks(positions.pixels[places] * slide.mpp, spot_diameter_um)
    with errors_of(f"{counts} with {spots}"):
        return weighed(Sample(name, slide, disks, table, given.donor, "legacy-st"))


def _read_spots(path: Path, transform: ImageTransform) -> _Positions:
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Give the path of the spot file."
        ) from error
    except (ValueError, EOFError, pd.errors.ParserError) as error:
        raise DataError(
            f"{path}: is not a table of spots ({str(error).splitlines()[0]}). Give a TSV file with a header."
        ) from error
    check_columns(
        path, table.columns, _COLUMNS, "A spot file is a TSV file with the columns x, y, pixel_x and pixel_y."
    )
    if table.empty:
        raise DataError(f"{path}: has a header but no spots.")
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
    """Return columns as numbers; the error names the first entry that is not one."""
    values = np.empty((len(table), len(columns)))
    for index, column in enumerate(columns):
        values[:, index] = pd.to_numeric(table[column], errors="coerce")
        bad = np.flatnonzero(~np.isfinite(values[:, index]))
        if len(bad):
            entry = table[column].iloc[bad[0]]
            raise DataError(f"{path}: line {bad[0] + 2} has {entry!r} as {column}; it must be a number.")
    return values


def _array_places(path: Path, names: list[str]) -> list[Spot]:
    """Read row names such as `10x13`; adjusted ones such as `7.97x12.04` are rounded to their place in the array."""
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
    counts: Path, spots: Path, counted: list[Spot], positions: _Positions
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Return the rows of the counts that have a position, their places in `positions`, and a note on the others."""
    place_of = {key: i for i, key in enumerate(positions.keys) if positions.selected[i]}
    rows = [i for i, key in enumerate(counted) if key in place_of]
    if not rows:
        swapped = any((y, x) in place_of for x, y in counted)
        hint = "x and y may be swapped in one of them." if swapped else "They may belong to different sections."
        raise DataError(
            f"{counts}: none of its {len(counted)} spots is among the {len(place_of)} of {spots} "
            f"(such as {_label(counted[0])} and {_label(next(iter(place_of)))}). {hint}"
        )
    left_out = [(len(counted) - len(rows), "spots with counts have no position")]
    left_out += [(len(place_of) - len(rows), "spots with a position have no counts")]
    listed = " and ".join(f"{count} {what}" for count, what in left_out if count)
    notes = [f"{listed}; they are left out, {len(rows)} remain"] if listed else []
    return np.array(rows), np.array([place_of[counted[i]] for i in rows]), notes


def _label(spot: Spot) -> str:
    return f"{spot[0]}x{spot[1]}"


def _pixel_size(path: Path, positions: _Positions, pitch_um: float | None, given: PixelSize | None) -> PixelSize:
    """Return the given pixel size, if the pitch does not contradict it, or else the pitch's."""
    pitch = pitch_in_pixels(positions.array, positions.pixels)
    if isinstance(pitch, str):
        if given is not None:
            return given
        raise DataError(f"{path}: {pitch}, so it gives no pixel size. Check the file, or give `mpp`.")
    staggered = _is_staggered(np.array(positions.keys))
    pitch_um = pitch_um or _PITCH_UM[staggered]
    measured = pitch_um / (_nearest(pitch) if staggered else square_pitch(path, pitch))
    return agreed_pixel_size(
        given,
        PixelSize(measured, "spot pitch"),
        f"{path}: a pitch of {pitch_um:g} um means {measured:.4g} um per pixel",
        "Give the pixel size of the image that the pixels refer to as `mpp`, or the right pitch as `spot_pitch_um`.",
    )


def _is_staggered(places: NDArray[np.int64]) -> bool:
    """Return whether every other place of each row is empty, and of the next row those between, but for stray spots."""
    odd = (places % 2).mean(axis=0)
    between = float((places.sum(axis=1) % 2).mean())
    return bool(odd.min() > _FEW and odd.max() < 1 - _FEW and not _STRAY <= between <= 1 - _STRAY)


def _nearest(pitch: tuple[float, float]) -> float:
    """Return the distance of the nearest spots of a staggered array by its pitch along both axes."""
    return min(math.hypot(*pitch), 2 * pitch[0], 2 * pitch[1])


def raw_places(entry: LegacyStEntry, raw: RawFiles) -> None:
    """Fill in the selected spots; see `RawReader`."""
    table = pd.read_csv(entry.spots, sep="\t")
    pixels = table[["pixel_x", "pixel_y"]].to_numpy(np.float64)
    selected = table["selected"].to_numpy() == 1 if "selected" in table else np.ones(len(table), bool)
    raw.xy_px = pixels[selected]
    staggered = _is_staggered(np.rint(table[["x", "y"]].to_numpy(np.float64)).astype(np.int64))
    raw.pitch_um = entry.spot_pitch_um or _PITCH_UM[staggered]
    adjusted = "new_x" in table and "new_y" in table
    array = table[["new_x", "new_y"] if adjusted else ["x", "y"]].to_numpy(np.float64)
    pitch = pitch_in_pixels(array, pixels)
    if not isinstance(pitch, str):
        raw.pitch_px = _nearest(pitch) if staggered else math.sqrt(pitch[0] * pitch[1])


def raw_counts(entry: LegacyStEntry) -> RawCounts:
    """Return the counts as written; see `RawReader`."""
    text = read_plain_or_gzip(entry.counts).decode("utf-8-sig")
    table = pd.read_csv(io.StringIO(text), sep="\t", skiprows=1, header=None, index_col=0)
    # Not by pandas, which would rename a gene that comes twice.
    genes = text.split("\n", 1)[0].rstrip("\r").split("\t")[-table.shape[1] :]
    return sparse.csr_matrix(table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)), genes
