from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pixnet.errors import DataError, PixNetError
from pixnet.readers.formats.files import find_file
from pixnet.readers.formats.names import POSITION_FILES, SCALEFACTOR_FILES
from pixnet.readers.formats.tenx_spatial import (
    POSITION_COLUMNS,
    check_image_scale,
    find_image,
    read_positions,
    read_scalefactors,
)
from pixnet.slide import Slide

TABLE = pd.DataFrame(
    {
        "barcode": ["AAAC-1", "AAAG-1", "AAAT-1"],
        "in_tissue": [1, 0, 1],
        "array_row": [0, 1, 2],
        "array_col": [0, 1, 0],
        "pxl_row_in_fullres": [10.5, 20.0, 30.0],
        "pxl_col_in_fullres": [11.0, 12.25, 13.0],
    }
)


def write_positions(path: Path, table: pd.DataFrame = TABLE, header: bool = True) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, header=header, index=False)
    return path


@pytest.mark.parametrize("name", [*POSITION_FILES, *(f"{name}.gz" for name in POSITION_FILES[1:])])
def test_positions_in_every_layout(tmp_path: Path, name: str) -> None:
    path = write_positions(tmp_path / name, header="_list" not in name)
    found, odd = read_positions(path)
    assert odd == []
    assert list(found.columns) == list(POSITION_COLUMNS)
    assert found["barcode"].tolist() == TABLE["barcode"].tolist()
    assert all(found[column].dtype == np.int32 for column in ("in_tissue", "array_row", "array_col"))
    assert np.array_equal(found[list(POSITION_COLUMNS[1:])], TABLE[list(POSITION_COLUMNS[1:])])
    assert find_file(tmp_path, POSITION_FILES) == path


@pytest.mark.parametrize(
    "layout",
    [
        "row numbers",
        "row numbers, no header",
        "other order",
        "semicolons",
        "tabs",
        "UTF-16",
        "quotes",
        "spaces",
        "case",
        "mark",
    ],
)
def test_positions_in_other_dialects(tmp_path: Path, layout: str) -> None:
    table = TABLE[list(POSITION_COLUMNS[::-1])] if layout == "other order" else TABLE
    table = table.rename(columns=str.upper) if layout == "case" else table
    form = {"sep": {"semicolons": ";", "tabs": "\t"}.get(layout, ","), "quoting": 1 if layout == "quotes" else 0}
    text = table.to_csv(index="numbers" in layout, header="no header" not in layout, **form)
    path = tmp_path / "p.csv"
    text = text.replace(",", ", ") if layout == "spaces" else text.replace("\n", "\r\n")
    path.write_bytes(text.encode({"UTF-16": "utf-16", "mark": "utf-8-sig"}.get(layout, "utf-8")))
    found, odd = read_positions(path)
    assert odd == []
    pd.testing.assert_frame_equal(found, TABLE, check_dtype=False)


def test_barcodes_as_bytes_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = write_positions(tmp_path / "p.parquet", TABLE.assign(barcode=[b"AA-1", b"AC-1", b"AG-1"]))
    assert read_positions(path)[0]["barcode"].tolist() == ["AA-1", "AC-1", "AG-1"]
    path = write_positions(tmp_path / "p.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_positions(path)[0]) == 3


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("barcode", "AAAC-1", "'AAAC-1' as barcode; each barcode must occur once"),
        ("barcode", "", "each barcode must occur once"),
        ("in_tissue", 2, "'2' as in_tissue; it must be 0 or 1"),
        ("array_row", -1, "'-1' as array_row; it must be a whole number"),
        ("pxl_row_in_fullres", np.nan, "as pxl_row_in_fullres; it must be a pixel of the image"),
        ("pxl_col_in_fullres", 1e300, "as pxl_col_in_fullres; it must be a pixel of the image"),
    ],
)
def test_a_row_that_is_not_valid_is_left_out_and_named(
    tmp_path: Path, name: str, column: str, value: object, message: str
) -> None:
    table = TABLE.copy()
    table.loc[1, column] = value
    if value == "AAAC-1":  # nothing tells which of the two is right
        with pytest.raises(DataError, match=f"{name}: .*{message} .2 of 3 are of that kind"):
            read_positions(write_positions(tmp_path / name, table))
        return
    found, odd = read_positions(write_positions(tmp_path / name, table))
    assert odd == [table.loc[1, "barcode"]]
    assert found["barcode"].tolist() == ["AAAC-1", "AAAT-1"]
    assert found["pxl_row_in_fullres"].tolist() == [10.5, 30.0]
    table[column] = value
    place = "row 1" if name.endswith("parquet") else "line 2"
    with pytest.raises(DataError, match=f"{name}: {place} has .*{message}"):
        read_positions(write_positions(tmp_path / name, table))


def test_tables_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        read_positions(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"none\.parquet: cannot be read"):
        read_positions(tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"p\.csv: its lines have 5 entries"):
        read_positions(write_positions(tmp_path / "p.csv", TABLE.iloc[:, :5], header=False))
    for name in ("p.csv", "p.parquet"):
        with pytest.raises(DataError, match=f"{name}: has no column 'array_row'; found 'barcode', 'in_tissue'"):
            read_positions(write_positions(tmp_path / name, TABLE.drop(columns="array_row")))
        with pytest.raises(DataError, match=f"{name}: has no positions"):
            read_positions(write_positions(tmp_path / name, TABLE.iloc[:0]))
    (tmp_path / "p.csv").write_bytes(b"")
    with pytest.raises(DataError, match="has no positions"):
        read_positions(tmp_path / "p.csv")
    (tmp_path / "p.csv.gz").write_bytes(gzip.compress(b"barcode" * 99)[:20])
    with pytest.raises(DataError, match="damaged or truncated"):
        read_positions(tmp_path / "p.csv.gz")


def test_damaged_positions_end_in_our_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("p.csv", "p.csv.gz", "p.parquet"):
        good = write_positions(tmp_path / name).read_bytes()
        for _ in range(40):
            data = bytearray(good)
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(256)
            (tmp_path / name).write_bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data)
            with suppress(PixNetError):
                read_positions(tmp_path / name)


def test_scale_factors(tmp_path: Path) -> None:
    path = tmp_path / "scalefactors_json.json"
    path.write_text(json.dumps({"spot_diameter_fullres": 89, "tissue_hires_scalef": 0.15, "note": "x", "flag": True}))
    assert read_scalefactors(path) == {"spot_diameter_fullres": 89.0, "tissue_hires_scalef": 0.15}
    packed = tmp_path / "S_scalefactors_json.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_scalefactors(packed)["tissue_hires_scalef"] == 0.15
    path.unlink()
    assert find_file(tmp_path, SCALEFACTOR_FILES) == packed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a JSON file"),
        ("[1, 2]", "does not hold scale factors"),
        ("[" * 100_000, "is not a JSON file"),
        ('{"bin_size_um": -1}', "'bin_size_um' is -1; a scale factor is a positive number"),
        ('{"bin_size_um": NaN}', "'bin_size_um' is nan"),
        ('{"bin_size_um": 1' + "0" * 400 + "}", "'bin_size_um' is 1000000000"),
        ('{"a": 1' + "0" * 5000 + "}", "is not a JSON file"),
        ("\0\xff", "is not a text file"),
        ('{"a": "' + "x" * (1 << 20) + '"}', "is larger than 1 MiB"),
    ],
)
def test_bad_scale_factors(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=rf"s\.json: .*{message}"):
        read_scalefactors(tmp_path / "s.json")


def picture(path: Path, width: int, height: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (width, height)).save(path)
    return path


def test_the_image_is_found_and_pictures_are_not(tmp_path: Path) -> None:
    spatial = tmp_path / "spatial"
    picture(spatial / "tissue_hires_image.png", 20, 10)
    for name in ("tissue_lowres_image.png", "aligned_fiducials.jpg", "S_detected_tissue_image.jpg"):
        picture(spatial / name, 50, 50)
    picture(spatial / "cytassist_image.tiff", 50, 50)
    picture(spatial / "thumbnail.png", 19, 10)
    (spatial / "notes.txt").touch()
    assert find_image([tmp_path, spatial], spatial) is None
    beside = picture(tmp_path / "outside" / "CytAssist_tissue_image.tif", 40, 20)
    assert find_image([tmp_path, tmp_path / "none", spatial, beside.parent], spatial) == beside
    near = picture(spatial / "he.JPG", 40, 20)
    assert find_image([tmp_path, spatial, beside.parent], spatial) == near
    picture(spatial / "he2.png", 40, 20)
    with pytest.raises(DataError, match=r"'he\.JPG' and 'he2\.png' could both be .* `image`"):
        find_image([tmp_path, spatial], spatial)


def test_a_copy_of_another_size_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "tissue_lowres_image.png", 60, 40)
    factors = {"tissue_lowres_scalef": 0.1, "tissue_hires_scalef": 0.3}
    for width, height in ((60, 40), (180, 120), (1200, 800)):
        slide = Slide.from_array(np.zeros((height, width, 3), np.uint8), 1.0, "he")
        with pytest.raises(DataError, match=f"he: has {width} x {height} pixels, .* of about 600 x 400.*`image`"):
            check_image_scale(slide, tmp_path, factors)
        check_image_scale(slide, tmp_path, {})
    for width, height in ((600, 400), (598, 403), (500, 400), (400, 600)):
        check_image_scale(Slide.from_array(np.zeros((height, width, 3), np.uint8), 1.0), tmp_path, factors)
