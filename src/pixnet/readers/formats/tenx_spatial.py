"""Files that Visium and Visium HD have in common: scale factors, positions, and the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import DataError, SlideError
from pixnet.readers.common import check_sound
from pixnet.readers.formats.files import check_columns, find_file, packed_file, read_json
from pixnet.readers.formats.flags import as_flags
from pixnet.readers.formats.names import SCALEFACTOR_FILES
from pixnet.readers.formats.parquet import open_parquet
from pixnet.readers.formats.text import header_of, numbers, read_text, text_table
from pixnet.slide import Slide
from pixnet.slide.formats import SUFFIXES

POSITION_COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
"""Columns of a table of positions, in the order of the files that have no header."""

_FACTORS = (
    "spot_diameter_fullres",
    "tissue_hires_scalef",
    "tissue_lowres_scalef",
    "microns_per_pixel",
    "bin_size_um",
)
_WHOLE = ("in_tissue", "array_row", "array_col")
_PIXEL, _INDEX = "it must be a pixel of the image", "it must be a whole number from 0 upwards"
_RULES = {
    "barcode": "each barcode must occur once",
    "in_tissue": "it must be 0 or 1",
    "array_row": _INDEX,
    "array_col": _INDEX,
    "pxl_row_in_fullres": _PIXEL,
    "pxl_col_in_fullres": _PIXEL,
}
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
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            number = float(numbers([value])[0]) if isinstance(value, str) else float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number) and number > 0:
            factors[name] = number
        elif name in _FACTORS:
            raise DataError(f"{path}: {name!r} is {str(value)[:20]}; a scale factor is a positive number.")
    return factors


def read_positions(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read the positions of spots: CSV with or without a header, plain or gzipped, or parquet.

    Returns
    -------
    positions, odd
        The columns of `POSITION_COLUMNS`: `barcode` is text, each once; `in_tissue` (0 or 1), `array_row` and
        `array_col` are int32; `pxl_row_in_fullres` and `pxl_col_in_fullres` are float64 in pixels of the
        full-resolution image. `odd` are the barcodes of rows that are left out: with an entry that is not valid, or a
        barcode that comes twice.
    """
    is_parquet = path.suffix.lower() == ".parquet"
    table, first = (_parquet(path), 1) if is_parquet else _csv(path)
    if table.empty:
        raise DataError(f"{path}: has no positions. Copy it again from the pipeline's output.")
    barcodes = table["barcode"]
    if isinstance(barcodes.iloc[0], bytes):
        barcodes = barcodes.str.decode("ascii", errors="replace")
    barcodes = barcodes.fillna("").astype(str).str.strip()
    columns = {name: numbers(table[name]) for name in POSITION_COLUMNS[2:]}
    columns = {"in_tissue": as_flags(table["in_tissue"]), **columns}
    valid = {name: _valid(name, values) for name, values in columns.items()}
    valid["barcode"] = ((barcodes != "") & ~barcodes.duplicated(keep=False)).to_numpy(bool)
    odd = ~np.all(list(valid.values()), axis=0)
    place = "row" if is_parquet else "line"

    def first_odd(row: int) -> str:
        name = next(name for name, good in valid.items() if not good[row])
        return f"{place} {row + first} has {str(table[name].iloc[row])[:40]!r} as {name}; {_RULES[name]}"

    check_sound(path, odd, first_odd, "Copy it again from the pipeline's output.")
    positions = pd.DataFrame({"barcode": barcodes, **columns})[~odd]
    return positions.astype(dict.fromkeys(_WHOLE, np.int32)).reset_index(drop=True), barcodes[odd].tolist()


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
        images = [path for path in present if path.name[0] != "." and not _is_picture(path)]
        images = [path for path in images if not least or max(_shape(path) or (least,)) >= least]
        if len(images) > 1:
            raise DataError(
                f"{folder}: {images[0].name!r} and {images[1].name!r} could both be the full-resolution image. "
                "Give one as `image`."
            )
        if images:
            return images[0]
    return None


def _is_picture(path: Path) -> bool:
    return path.name.split(".", 1)[0].lower().endswith(_PICTURES) or path.stem.lower().endswith(_PICTURES)


def required_image(path: Path, folders: Sequence[Path], spatial: Path) -> Path:
    """Find the full-resolution image as `find_image` does; it is an error about `path` if there is none."""
    image = find_image(folders, spatial)
    if image is None:
        packed = (packed_file(folder, SUFFIXES) for folder in folders)
        if found := next((file for file in packed if file and not _is_picture(file)), None):
            raise DataError(f"{found}: the image is packed. Unpack it there, or give it as `image`.")
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


def _csv(path: Path) -> tuple[pd.DataFrame, int]:
    """Return the table as text, and the number of its first line."""
    text = read_text(path, _MOST_CSV_BYTES)
    has_header = "barcode" in header_of(text, POSITION_COLUMNS)[0]
    table = text_table(path, text, POSITION_COLUMNS, has_header) if text.strip() else pd.DataFrame()
    if has_header:
        check_columns(path, table.columns, POSITION_COLUMNS, "Give the file that the pipeline wrote.")
        return table, 2
    if len(table.columns) == len(POSITION_COLUMNS) + 1 and table[0].str.isdecimal().all():
        table = table.iloc[:, 1:]  # row numbers, as pandas writes them
    if len(table.columns) != len(POSITION_COLUMNS) and not table.empty:
        raise DataError(
            f"{path}: its lines have {len(table.columns)} entries; without a header there must be "
            f"{len(POSITION_COLUMNS)}: {', '.join(POSITION_COLUMNS)}."
        )
    return table.set_axis(list(POSITION_COLUMNS), axis=1) if len(table) else table, 1


def _parquet(path: Path) -> pd.DataFrame:
    with open_parquet(path, POSITION_COLUMNS, "a table of positions") as file:
        if file.metadata.num_rows > _MOST_ROWS:
            raise DataError(f"{path}: declares {file.metadata.num_rows} rows; no capture area has so many bins.")
        table: pd.DataFrame = file.read(list(POSITION_COLUMNS)).to_pandas(ignore_metadata=True)
    return table


def _valid(name: str, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        valid = np.abs(values) <= (1 if name == "in_tissue" else _LARGEST_PIXEL)
        if name in _WHOLE:
            valid &= (values >= 0) & (values == np.floor(values))
    return np.asarray(valid, np.bool_)


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
