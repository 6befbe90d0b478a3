"""What the folders of Visium and Visium HD have in common: prefixed files, scale factors, positions, the image."""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, SlideError, first_line
from pixnet.readers.formats.declared import check_rows
from pixnet.readers.formats.find_file import find_file
from pixnet.slide import Slide
from pixnet.slide.formats import SUFFIXES

POSITION_COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
"""Columns of a table of positions, in the order of the files that have no header."""

POSITION_FILES = tuple(f"tissue_positions{end}" for end in (".parquet", ".csv", "_list.csv", ".csv.gz", "_list.csv.gz"))
"""What Space Ranger 1 (`_list.csv`), 2 to 4 (`.csv`) and HD (`.parquet`) call it; archives pack it."""

SCALEFACTOR_FILES = ("scalefactors_json.json", "scalefactors_json.json.gz")

_WHOLE = ("in_tissue", "array_row", "array_col")
# Whole ends of names: "CytAssist_Breast_tissue_image.tif" is a full-resolution image.
_PICTURES = (
    "tissue_hires_image",
    "tissue_lowres_image",
    "aligned_fiducials",
    "aligned_tissue_image",
    "detected_tissue_image",
    "cytassist_image",
)
_MOST_ROWS = 1 << 26  # an 11-mm capture area has 30 million bins of 2 um
_MOST_JSON_BYTES = 1 << 20
_MOST_CSV_BYTES = 1 << 30
_LARGEST_PIXEL = 1e7  # beyond it a position is damage: no slide has so many pixels a side
_SAME_SHAPE, _SAME_SCALE = 0.01, 0.03


def read_scalefactors(path: Path) -> dict[str, float]:
    """Read `scalefactors_json.json`, plain or gzipped.

    Returns
    -------
    dict
        Its numbers: pixels of the full-resolution image per spot (`spot_diameter_fullres`), of hires and lowres per
        pixel of the full resolution, and for HD also `microns_per_pixel` and `bin_size_um`.

    Raises
    ------
    DataError
        If the file is missing, damaged or no such table, or a number is not positive.
    """
    try:
        found = json.loads(_content(path, _MOST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: is no JSON ({first_line(error)}). Copy it again from the pipeline's output."
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no table of scale factors. Copy it again from the pipeline's output.")
    factors: dict[str, float] = {}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        try:
            factors[name] = float(value)
        except OverflowError:
            factors[name] = math.inf
        if not (math.isfinite(factors[name]) and factors[name] > 0):
            raise DataError(f"{path}: {name!r} is {factors[name]:g}; a scale factor is a positive number.")
    return factors


def read_positions(path: Path, columns: Sequence[str] = POSITION_COLUMNS) -> pd.DataFrame:
    """Read the positions of spots or bins: CSV with or without a header, plain or gzipped, or parquet.

    Parameters
    ----------
    path
        The file.
    columns
        Which of `POSITION_COLUMNS` to give. Without "barcode" there is no string per bin.

    Returns
    -------
    DataFrame
        The columns, in that order: `barcode` as text, each once; `in_tissue` (0 or 1), `array_row` and `array_col`
        int32; `pxl_row_in_fullres` and `pxl_col_in_fullres` float64, pixels of the full-resolution image.

    Raises
    ------
    DataError
        If the file is missing, damaged or no such table, or a barcode occurs twice.
    """
    packed = path.suffix.lower() == ".parquet"
    table, first = (_parquet(path, columns), 1) if packed else _csv(path, columns)
    if table.empty:
        raise DataError(f"{path}: holds no positions. Copy it again from the pipeline's output.")
    place = "row" if packed else "line"
    checked = {name: _column(path, table[name], name, place, first) for name in columns}
    return pd.DataFrame(checked, columns=list(columns))


def find_image(folders: Sequence[Path], spatial: Path | None = None) -> Path | None:
    """Find the full-resolution image in the first of some folders that has one.

    The pictures that the pipeline draws (hires, lowres, fiducials, CytAssist) never count, nor does an image that is
    smaller than the hires one.

    Parameters
    ----------
    folders
        Where to look, nearest first.
    spatial
        Folder of the hires picture.

    Raises
    ------
    DataError
        If a folder has several such images.
    """
    least = max(_picture_shape(spatial, "hires") or (0, 0)) if spatial else 0
    for folder in dict.fromkeys(folders):
        try:
            present = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        except OSError:
            continue
        named = [path for path in present if path.name[0] != "." and not path.stem.lower().endswith(_PICTURES)]
        found = [path for path in named if not least or max(_shape(path) or (least,)) >= least]
        if len(found) > 1:
            raise DataError(
                f"{folder}: {found[0].name!r} and {found[1].name!r} could both be the full-resolution image. "
                "Give one as `image` (--image)."
            )
        if found:
            return found[0]
    return None


def check_image_scale(slide: Slide, spatial: Path, factors: dict[str, float]) -> None:
    """Refuse an image that is a smaller or larger copy of the one that the positions refer to.

    The hires or lowres picture and its scale factor tell how large that one was. An image of another shape may have
    been cropped, and is left to other checks.

    Raises
    ------
    DataError
        If the image is such a copy.
    """
    for kind in ("hires", "lowres"):
        factor, shape = factors.get(f"tissue_{kind}_scalef"), _picture_shape(spatial, kind)
        if factor is None or shape is None:
            continue
        ratios = [side * factor / small for side, small in zip(slide.shape, shape, strict=True)]
        # The picture was rounded to whole pixels: a pixel is a lot of a tiny one.
        slack = _SAME_SHAPE + 1 / min(shape)
        if abs(ratios[0] - ratios[1]) <= slack * max(ratios) and abs(ratios[0] - 1) > _SAME_SCALE + slack:
            height, width = (round(side / factor) for side in shape)
            raise DataError(
                f"{slide.path or slide.name}: has {slide.shape[1]} x {slide.shape[0]} pixels, but the positions are "
                f"pixels of an image of about {width} x {height}. Give the full-resolution image that the pipeline "
                "was run on as `image` (--image), not a smaller copy such as tissue_hires_image.png."
            )
        return


def _content(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip file is damaged or truncated ({first_line(error)}). Copy it again."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if len(data) > limit:
        raise DataError(f"{path}: is larger than {limit >> 20} MiB, so it is no file of this kind.")
    return data


def _csv(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Give the table as text, and the number of its first line."""
    data = _content(path, _MOST_CSV_BYTES).removeprefix(b"\xef\xbb\xbf")
    headed = data.lstrip(b'"').startswith(b"barcode")
    try:
        table = pd.read_csv(
            io.BytesIO(data), header=0 if headed else None, index_col=False, dtype=str, keep_default_na=False
        )
    except (ValueError, OverflowError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is no table of positions ({first_line(error)}).") from error
    if not headed:
        if len(table.columns) != len(POSITION_COLUMNS):
            raise DataError(
                f"{path}: its lines have {len(table.columns)} cells; without a header there must be "
                f"{len(POSITION_COLUMNS)}: {', '.join(POSITION_COLUMNS)}."
            )
        table.columns = pd.Index(POSITION_COLUMNS)
    _check_columns(path, list(table.columns), columns)
    return table, 2 if headed else 1


def _parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            check_rows(path, file.metadata)
            if file.metadata.num_rows > _MOST_ROWS:
                raise DataError(f"{path}: declares {file.metadata.num_rows} rows; no capture area has so many bins.")
            table: pd.DataFrame = file.read(list(columns)).to_pandas(ignore_metadata=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}).") from error
    except (pa.ArrowException, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise DataError(f"{path}: is no table of positions, or damaged ({first_line(error)}).") from error
    return table


def _check_columns(path: Path, present: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in present]
    if missing:
        found = ", ".join(repr(name) for name in present[:8])[:200]
        raise DataError(f"{path}: has no column {missing[0]!r}; found {found}. Give the file that the pipeline wrote.")


def _column(path: Path, cells: pd.Series, name: str, place: str, first: int) -> NDArray[Any]:
    """Check one column, and name the first cell that will not do."""
    values: NDArray[Any]
    if name == "barcode":
        texts = cells.str.decode("ascii", errors="replace") if isinstance(cells.iloc[0], bytes) else cells
        texts = texts.fillna("").astype(str)
        values = texts.to_numpy(dtype=object)
        bad, rule = (values == "") | texts.duplicated().to_numpy(), "each barcode must stand there once"
    else:
        values = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
        with np.errstate(invalid="ignore"):
            bad, rule = ~(np.abs(values) <= _LARGEST_PIXEL), "it must be a pixel of the image"
            if name in _WHOLE:
                bad, rule = (
                    bad | (values < 0) | (values != np.floor(values)),
                    "it must be a whole number from 0 upwards",
                )
            if name == "in_tissue":
                bad, rule = bad | (values > 1), "it must be 0 or 1"
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{path}: {place} {row + first} has {str(cells.iloc[row])[:40]!r} as {name}; {rule}.")
    return values.astype(np.int32) if name in _WHOLE else values


def _picture_shape(spatial: Path, kind: str) -> tuple[int, int] | None:
    """Give the height and width of the hires or lowres picture; None if there is none to be read."""
    path = find_file(spatial, [f"tissue_{kind}_image.png", f"tissue_{kind}_image.jpg"])
    return None if path is None else _shape(path)


def _shape(path: Path) -> tuple[int, int] | None:
    try:
        return Slide.open(path, mpp=1.0).shape
    except SlideError:
        return None
