"""Files that Visium and Visium HD have in common: scale factors, positions, and the image."""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Sequence
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
"""Names in Space Ranger 1 (`_list.csv`), 2 to 4 (`.csv`) and HD (`.parquet`); archives compress the file."""

SCALEFACTOR_FILES = ("scalefactors_json.json", "scalefactors_json.json.gz")

_WHOLE = ("in_tissue", "array_row", "array_col")
# Complete ends of names: "CytAssist_Breast_tissue_image.tif" is a full-resolution image.
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
_LARGEST_PIXEL = 1e7  # a greater position means damage: no slide has so many pixels a side
_SAME_SHAPE, _SAME_SCALE = 0.01, 0.03


def read_scalefactors(path: Path) -> dict[str, float]:
    """Read `scalefactors_json.json`, plain or gzipped.

    Returns
    -------
    dict
        The numbers in it: pixels of the full-resolution image per spot (`spot_diameter_fullres`), pixels of the hires
        and lowres pictures per pixel of it, and for HD also `microns_per_pixel` and `bin_size_um`.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, or a number is not positive.
    """
    try:
        content = json.loads(_content(path, _MOST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: is not a JSON file ({first_line(error)}). Copy it again from the pipeline's output."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: does not hold scale factors. Copy it again from the pipeline's output.")
    factors: dict[str, float] = {}
    for name, value in content.items():
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
        Which of `POSITION_COLUMNS` to return. Without "barcode", no string per bin is created.

    Returns
    -------
    DataFrame
        The columns, in that order: `barcode` as text, each once; `in_tissue` (0 or 1), `array_row` and `array_col` as
        int32; `pxl_row_in_fullres` and `pxl_col_in_fullres` as float64, in pixels of the full-resolution image.

    Raises
    ------
    DataError
        If the file is missing, damaged or not such a table, or a barcode occurs twice.
    """
    is_parquet = path.suffix.lower() == ".parquet"
    table, first = (_parquet(path, columns), 1) if is_parquet else _csv(path, columns)
    if table.empty:
        raise DataError(f"{path}: has no positions. Copy it again from the pipeline's output.")
    place = "row" if is_parquet else "line"
    checked = {name: _column(path, table[name], name, place, first) for name in columns}
    return pd.DataFrame(checked, columns=list(columns))


def find_image(folders: Sequence[Path], spatial: Path | None = None) -> Path | None:
    """Find the full-resolution image in the first of some folders that has one.

    The pictures that the pipeline draws (hires, lowres, fiducials, CytAssist) never count, nor does an image that is
    smaller than the hires one.

    Parameters
    ----------
    folders
        Folders to search, nearest first.
    spatial
        Folder of the hires picture.

    Returns
    -------
    Path
        None if there is no such image.

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
        images = [path for path in present if path.name[0] != "." and not path.stem.lower().endswith(_PICTURES)]
        images = [path for path in images if not least or max(_shape(path) or (least,)) >= least]
        if len(images) > 1:
            raise DataError(
                f"{folder}: {images[0].name!r} and {images[1].name!r} could both be the full-resolution image. "
                "Give one as `image`."
            )
        if images:
            return images[0]
    return None


def check_image_scale(slide: Slide, spatial: Path, factors: dict[str, float]) -> None:
    """Check that an image is not a smaller or larger copy of the one that the positions refer to.

    The hires or lowres picture and its scale factor determine how large that one was. An image of another shape may
    have been cropped, and is left to other checks.

    Parameters
    ----------
    slide
        The image.
    spatial
        Folder of the pictures.
    factors
        The scale factors.

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
        # The picture was rounded to full pixels, and one pixel is a large part of a tiny picture.
        slack = _SAME_SHAPE + 1 / min(shape)
        if abs(ratios[0] - ratios[1]) <= slack * max(ratios) and abs(ratios[0] - 1) > _SAME_SCALE + slack:
            height, width = (round(side / factor) for side in shape)
            raise DataError(
                f"{slide.path or slide.name}: has {slide.shape[1]} x {slide.shape[0]} pixels, but the positions are "
                f"pixels of an image of about {width} x {height}. Give the full-resolution image that the pipeline "
                "was run on as `image`, not a smaller copy such as tissue_hires_image.png."
            )
        return


def full_resolution_sizes(spatial: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the size that each of Space Ranger's pictures, by its scale factor, states for the full-resolution image.

    Parameters
    ----------
    spatial
        Folder of the pictures.

    Yields
    ------
    name, (height, width)
        Of a picture, and of the full-resolution image in pixels.
    """
    path = find_file(spatial, SCALEFACTOR_FILES)
    factors = read_scalefactors(path) if path else {}
    for kind in ("hires", "lowres"):
        picture = find_file(spatial, _picture_names(kind))
        factor = factors.get(f"tissue_{kind}_scalef")
        if picture is not None and factor is not None:
            height, width = Slide.open(picture, mpp=1.0).shape
            yield picture.name, (height / factor, width / factor)


def _content(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if is_gzip else path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip file is damaged or truncated ({first_line(error)}). Copy it again."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Copy it again.") from error
    if len(data) > limit:
        raise DataError(f"{path}: is larger than {limit >> 20} MiB, so it is not a file of this kind.")
    return data


def _csv(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Return the table as text, and the number of its first line."""
    data = _content(path, _MOST_CSV_BYTES).removeprefix(b"\xef\xbb\xbf")
    has_header = data.lstrip(b'"').startswith(b"barcode")
    try:
        table = pd.read_csv(
            io.BytesIO(data), header=0 if has_header else None, index_col=False, dtype=str, keep_default_na=False
        )
    except (ValueError, OverflowError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is not a table of positions ({first_line(error)}). Copy it again.") from error
    if not has_header:
        if len(table.columns) != len(POSITION_COLUMNS):
            raise DataError(
                f"{path}: its lines have {len(table.columns)} entries; without a header there must be "
                f"{len(POSITION_COLUMNS)}: {', '.join(POSITION_COLUMNS)}."
            )
        table.columns = pd.Index(POSITION_COLUMNS)
    _check_columns(path, list(table.columns), columns)
    return table, 2 if has_header else 1


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
        raise DataError(f"{path}: cannot be read ({first_line(error)}). Copy it again.") from error
    except (pa.ArrowException, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise DataError(
            f"{path}: is not a table of positions, or is damaged ({first_line(error)}). Copy it again."
        ) from error
    return table


def _check_columns(path: Path, present: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in present]
    if missing:
        listed = ", ".join(repr(name) for name in present[:8])[:200]
        raise DataError(f"{path}: has no column {missing[0]!r}; found {listed}. Give the file that the pipeline wrote.")


def _column(path: Path, entries: pd.Series, name: str, place: str, first: int) -> NDArray[Any]:
    """Check one column; the error names the first entry that is not valid."""
    values: NDArray[Any]
    if name == "barcode":
        texts = entries.str.decode("ascii", errors="replace") if isinstance(entries.iloc[0], bytes) else entries
        texts = texts.fillna("").astype(str)
        values = texts.to_numpy(dtype=object)
        bad, rule = (values == "") | texts.duplicated().to_numpy(), "each barcode must occur once"
    else:
        values = pd.to_numeric(entries, errors="coerce").to_numpy(np.float64)
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
        raise DataError(f"{path}: {place} {row + first} has {str(entries.iloc[row])[:40]!r} as {name}; {rule}.")
    return values.astype(np.int32) if name in _WHOLE else values


def _picture_names(kind: str) -> list[str]:
    return [f"tissue_{kind}_image.png", f"tissue_{kind}_image.jpg"]


def _picture_shape(spatial: Path, kind: str) -> tuple[int, int] | None:
    """Return the height and width of the hires or lowres picture; None if there is none that can be read."""
    path = find_file(spatial, _picture_names(kind))
    return None if path is None else _shape(path)


def _shape(path: Path) -> tuple[int, int] | None:
    try:
        return Slide.open(path, mpp=1.0).shape
    except SlideError:
        return None
