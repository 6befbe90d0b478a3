"""Legacy Spatial Transcriptomics arrays: a table of counts, a table of spot positions, and the image.

The files state no pixel size. It follows from the pitch of the array: the spots are printed a known distance apart,
and the spot file states how many pixels that is. On arrays of the first generation they form a square lattice; on those
of the second, every other place of each row is empty, and the nearest spots are those of the next row.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError
from pixnet.readers.common import (
    SampleOptions,
    agreed_pixel_size,
    check_sound,
    errors_of,
    given_options,
    left_out,
    warn_once,
    weighed,
)
from pixnet.readers.formats.count_table import read_counts
from pixnet.readers.formats.files import check_columns
from pixnet.readers.formats.flags import under_tissue
from pixnet.readers.formats.image_transform import ImageTransform
from pixnet.readers.formats.pitch import pitch_in_pixels, square_pitch
from pixnet.readers.formats.text import cells, delimiter_of, numbers, read_text, text_table
from pixnet.readers.platforms import LegacyStEntry
from pixnet.readers.raw import RawCounts, RawFiles
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.sample.genes import merge_genes, without_controls
from pixnet.slide.pixel_size import PixelSize
from pixnet.slide.slide import open_slide

Spot = tuple[int, int]

_PITCH_UM = {False: 200.0, True: 150.0}  # of square and of staggered arrays
_FEW, _STRAY = 0.1, 0.02  # shares of the spots
_COLUMNS = ("x", "y", "pixel_x", "pixel_y")
# A place in the array, alone or beside the name or number of a sample; R puts an X before names that are numbers.
_NUMBER = r"\d+(?:\.\d+)?"
_PLACE = re.compile(
    rf"(?P<before>|X|.*[^\w.]|.*\D\.|.*_)(?P<x>{_NUMBER})x(?P<y>{_NUMBER})(?P<after>|[^\w.].*|\.\D.*|_.*)", re.ASCII
)


@dataclass(frozen=True)
class _Positions:
    """Spots of a spot file: array coordinates as printed and as measured, and pixels of the full-resolution image.

    `odd` is the number of spots that the file has no numbers for.
    """

    keys: list[Spot]
    array: NDArray[np.float64]
    pixels: NDArray[np.float64]
    selected: NDArray[np.bool_]
    odd: int


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
    table, array_places, notes = _read_counts(counts)
    rows, places, left = _join(counts, spots, array_places, positions)
    left["spots whose place is repeated or no number"] = positions.odd
    warn_once(name, [*notes, *left_out(left, len(rows))])
    keys = [positions.keys[place] for place in places]
    table = Counts(
        table.matrix[rows],
        table.genes,
        names=pd.Index([_label(spot) for spot in keys]),
        obs=pd.DataFrame({"array_x": [x for x, _ in keys], "array_y": [y for _, y in keys]}),
    )
    disks = Disks(positions.pixels[places] * slide.mpp, spot_diameter_um)
    with errors_of(f"{counts} with {spots}"):
        return weighed(Sample(name, slide, disks, table, given.donor, "legacy-st"))


def _read_counts(path: Path) -> tuple[Counts, list[Spot], list[str]]:
    """Read the table of counts, with a row for each place in the array: its counts, the places, and notes."""
    names, genes, matrix, incomplete = read_counts(path)
    if sum(map(_is_place, genes)) > sum(map(_is_place, names)):  # a row for each gene
        names, genes, matrix = genes, names, sparse.csr_matrix(matrix.T)
    rows, places = _array_places(path, names)
    others = [names[row] for row in np.setdiff1d(np.arange(len(names)), rows)]
    odd = {"rows with missing values": incomplete, "rows not called by a place of their own": others}
    notes = left_out(odd, len(rows))
    with errors_of(path):
        matrix, genes, _, controls = without_controls(matrix[rows], genes)
        matrix, merged_genes, _, merged = merge_genes(matrix, genes)
        return Counts(matrix, merged_genes), places, [*notes, *controls, *merged]


def _is_place(name: str) -> bool:
    return _PLACE.fullmatch(name) is not None


def _read_spots(path: Path, transform: ImageTransform) -> _Positions:
    table, selected = _spot_table(path)
    if not selected.any():
        raise DataError(f"{path}: no spot is selected; the column 'selected' must be 1 where a spot is under tissue.")
    adjusted = "new_x" in table and "new_y" in table
    columns = ["x", "y", *(["new_x", "new_y"] if adjusted else []), "pixel_x", "pixel_y"]
    values = np.column_stack([numbers(table[column]) for column in columns])
    odd = np.asarray(~np.isfinite(values).all(axis=1), np.bool_)
    check_sound(path, odd, lambda row: _odd_entry(table, values, columns, row), "Give the file of the spots.")
    odd[~odd] = _repeated(path, np.rint(values[~odd, :2]).tolist())
    keys = [(int(x), int(y)) for x, y in np.rint(values[~odd, :2])]
    array = values[~odd][:, [columns.index(column) for column in (("new_x", "new_y") if adjusted else ("x", "y"))]]
    pixels = transform.points(values[~odd, -2:])
    return _Positions(keys, array, pixels, selected[~odd], int(odd.sum()))


def _spot_table(path: Path) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Return the texts of a spot file, and which spots are under tissue."""
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path}: is empty. A spot file has the columns x, y, pixel_x and pixel_y.")
    table = text_table(path, text, (*_COLUMNS, "new_x", "new_y", "selected"))
    check_columns(
        path, table.columns, _COLUMNS, "A spot file is a TSV file with the columns x, y, pixel_x and pixel_y."
    )
    if table.empty:
        raise DataError(f"{path}: has a header but no spots.")
    return table, under_tissue(str(path), table, ("selected",))


def _odd_entry(table: pd.DataFrame, values: NDArray[np.float64], columns: list[str], row: int) -> str:
    column = columns[int(np.argmin(np.isfinite(values[row])))]
    return f"line {row + 2} has {table[column].iloc[row]!r} as {column}; it must be a number"


def _array_places(path: Path, names: list[str]) -> tuple[NDArray[np.int64], list[Spot]]:
    """Return the rows whose names are places in the array, and the places.

    Adjusted places such as `7.97x12.04` are rounded. A sample's name may come before or after all of them (`C3_4x1`,
    `4x1_1`); rows of several samples are an error.
    """
    matches = [_PLACE.fullmatch(name) for name in names]
    odd = np.array([match is None for match in matches], bool)
    check_sound(
        path,
        odd,
        lambda row: f"a row is called {names[row][:40]!r}",
        "Rows must be called by place in the array, as in '10x13'.",
    )
    found = [match for match in matches if match is not None]
    parts: dict[tuple[str, str], str] = {}
    for match in found:
        parts.setdefault((match["before"], match["after"]), match[0])
    if len(parts) > 1:
        one, other = list(parts.values())[:2]
        raise DataError(
            f"{path}: has rows of several samples, such as {one[:40]!r} and {other[:40]!r}. Give each a file "
            "of its own."
        )
    places = [(round(float(match["x"])), round(float(match["y"]))) for match in found]
    once = ~_repeated(path, places)
    return np.flatnonzero(~odd)[once], [place for place, single in zip(places, once, strict=True) if single]


def _repeated(path: Path, places: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """Return which places occur more than once, so that nothing tells which of their rows is right."""
    repeated = np.asarray(pd.Series(list(map(tuple, places)), dtype=object).duplicated(keep=False), np.bool_)
    check_sound(
        path,
        repeated,
        lambda row: f"the spot {places[row][0]:g}x{places[row][1]:g} occurs more than once",
        "Leave one row for each spot.",
    )
    return repeated


def _join(
    counts: Path, spots: Path, counted: list[Spot], positions: _Positions
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, int | list[str]]]:
    """Return the rows of the counts that have a position, their places in `positions`, and the others by reason."""
    place_of = {key: i for i, key in enumerate(positions.keys) if positions.selected[i]}
    rows = [i for i, key in enumerate(counted) if key in place_of]
    if not rows:
        swapped = any((y, x) in place_of for x, y in counted)
        hint = "x and y may be swapped in one of them." if swapped else "They may belong to different sections."
        raise DataError(
            f"{counts}: none of its {len(counted)} spots is among the {len(place_of)} of {spots} "
            f"(such as {_label(counted[0])} and {_label(next(iter(place_of)))}). {hint}"
        )
    known = set(positions.keys)
    left: dict[str, int | list[str]] = {
        "spots not under tissue": [_label(key) for key in counted if key in known and key not in place_of],
        "spots with counts but without a position": [_label(key) for key in counted if key not in known],
        "spots with a position but without counts": [_label(key) for key in place_of.keys() - set(counted)],
    }
    return np.array(rows), np.array([place_of[counted[i]] for i in rows]), left


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
    table, selected = _spot_table(entry.spots)
    values = {column: numbers(table[column]) for column in table}
    pixels = np.column_stack([values["pixel_x"], values["pixel_y"]])
    placed = np.asarray(np.isfinite(pixels).all(axis=1), np.bool_)
    use = selected & placed & np.isfinite(values["x"] + values["y"])
    raw.xy_px = pixels[use]
    staggered = _is_staggered(np.rint(np.column_stack([values["x"], values["y"]])[use]).astype(np.int64))
    raw.pitch_um = entry.spot_pitch_um or _PITCH_UM[staggered]
    adjusted = "new_x" in table and "new_y" in table
    array = np.column_stack([values[name] for name in (("new_x", "new_y") if adjusted else ("x", "y"))])
    use = placed & np.isfinite(array).all(axis=1)
    pitch = pitch_in_pixels(array[use], pixels[use])
    if not isinstance(pitch, str):
        raw.pitch_px = _nearest(pitch) if staggered else math.sqrt(pitch[0] * pitch[1])


def raw_counts(entry: LegacyStEntry) -> RawCounts:
    """Return the counts as written; see `RawReader`."""
    text = read_text(entry.counts)
    delimiter = delimiter_of(text.split("\n", 1)[0])
    table = pd.read_csv(io.StringIO(text), sep=delimiter, skiprows=1, header=None, index_col=0)
    # Not by pandas, which would rename a gene that comes twice.
    genes = cells(text.split("\n", 1)[0], delimiter)[-table.shape[1] :]
    return sparse.csr_matrix(table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)), genes
