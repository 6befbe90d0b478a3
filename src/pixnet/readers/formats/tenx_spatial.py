"""Files that Visium and Visium HD have in common: scale factors, positions, and the image."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, SlideError, first_line
from pixnet.readers.formats.files import check_columns, find_file, read_json, read_plain_or_gzip
from pixnet.readers.formats.parquet import open_parquet
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
_MOST_CSV_BYTES = 1 << 30
_LARGEST_PIXEL = 1e7  # a greater position means damage: no slide has so many pixels a side
_SAME_SHAPE, _SAME_SCALE = 0.01, 0.03


def read_scalefactors(path: Path) -> dict[str, float]:
    """Read the numbers in `scalefactors_json.json`, plain or gzipped, which must be positive.

    They are pixels of the full-resolution image per spot (`spot_diameter_fullres`), pixels of the hires and lowres
    pictures per pixel of it, and for HD also `microns_per_pixel` and `bin_size_um`.
    """
    factors: dict[str, float] = {}
    for name, value in read_json(path, "scale factors", "Copy it again from the pipeline's output.").items():
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
    """Read columns of the positions of spots or bins: CSV with or without a header, plain or gzipped, or parquet.

    `barcode` is text, each once; `in_tissue` (0 or 1), `array_row` and `array_col` are int32; `pxl_row_in_fullres` and
    `pxl_col_in_fullres` are float64 in pixels of the full-resolution image. Without "barcode", no string per bin is
    created.
    """
    is_parquet = path.suffix.lower() == ".parquet"
    table, first = (_parquet(path, columns), 1) if is_parquet else _csv(path, columns)
    if table.empty:
        raise DataError(f"{path}: has no positions. Copy it again from the pipeline's output.")
    place = "row" if is_parquet else "line"
    checked = {name: _column(path, table[name], name, place, first) for name in columns}
    return pd.DataFrame(checked, columns=list(columns))


def find_image(folders: Sequence[Path], spatial: Path | None = None) -> Path | None:
    """Find the full-resolution image in the first of some folders, nearest first, that has one; None if none has.

    The pictures that the pipeline draws (hires, lowres, fiducials, CytAssist) never count, nor does an image that is
    smaller than the hires one in `spatial`. Several images in one folder are an error.
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


def required_image(path: Path, folders: Sequence[Path], spatial: Path) -> Path:
    """Find the full-resolution image as `find_image` does; it is an error about `path` if there is none."""
    image = find_image(folders, spatial)
    if image is None:
        raise DataError(
            f"{path}: full-resolution image not found; Space Ranger does not copy it, and its own pictures "
            "(tissue_hires_image.png) are too coarse. Give the H&E image that it was run on as `image`."
        )
    return image


def check_image_scale(slide: Slide, spatial: Path, factors: dict[str, float]) -> None:
    """Check that a slide is not a smaller or larger copy of the image that the positions refer to.

    The hires or lowres picture in `spatial` and its scale factor determine how large that one was. An image of another
    shape may have been cropped, and is left to other checks.
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
    """Yield names of Space Ranger's pictures, and the (height, width) in pixels that each states for the full image."""
    path = find_file(spatial, SCALEFACTOR_FILES)
    factors = read_scalefactors(path) if path else {}
    for kind in ("hires", "lowres"):
        picture = _picture(spatial, kind)
        factor = factors.get(f"tissue_{kind}_scalef")
        if picture is not None and factor is not None:
            height, width = Slide.open(picture, mpp=1.0).shape
            yield picture.name, (height / factor, width / factor)


def _csv(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Return the table as text, and the number of its first line."""
    data = read_plain_or_gzip(path, _MOST_CSV_BYTES).removeprefix(b"\xef\xbb\xbf")
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
    check_columns(path, table.columns, columns, "Give the file that the pipeline wrote.")
    return table, 2 if has_header else 1


def _parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    with open_parquet(path, columns, "a table of positions") as file:
        if file.metadata.num_rows > _MOST_ROWS:
            raise DataError(f"{path}: declares {file.metadata.num_rows} rows; no capture area has so many bins.")
        table: pd.DataFrame = file.read(list(columns)).to_pandas(ignore_metadata=True)
    return table


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


def _picture(spatial: Path, kind: str) -> Path | None:
    return find_file(spatial, [f"tissue_{kind}_image.png", f"tissue_{kind}_image.jpg"])


def _picture_shape(spatial: Path, kind: str) -> tuple[int, int] | None:
    """Return the height and width of the hires or lowres picture; None if there is none that can be read."""
    path = _picture(spatial, kind)
    return None if path is None else _shape(path)


def _shape(path: Path) -> tuple[int, int] | None:
    try:
        return Slide.open(path, mpp=1.0).shape
    except SlideError:
        return None
