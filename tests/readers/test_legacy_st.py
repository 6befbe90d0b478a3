from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixnet.errors import DataError, PixNetWarning, SlideError
from pixnet.readers.legacy_st import read_legacy_st
from pixnet.sample import Sample

HEADER = "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n"
PLACES = [(x, y) for y in range(1, 5) for x in range(1, 6)]


def spot_line(x: int, y: int, selected: int = 1) -> str:
    return f"{x}\t{y}\t{x + 0.01}\t{y - 0.02}\t{100 * (x + 0.01):.2f}\t{100 * (y - 0.02):.2f}\t{selected}\n"


class Section:
    """A small section: 5 x 4 spots, 100 pixels apart, in an image of 600 x 500."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spots = HEADER + "".join(spot_line(x, y) for x, y in PLACES)
        self.counts = "\tA\tB\n" + "".join(f"{x}x{y}\t{x}\t{y}\n" for x, y in reversed(PLACES))
        Image.new("RGB", (600, 500), "pink").save(folder / "image.png", dpi=(72, 72))

    def read(self, **options: Any) -> Sample:
        (self.folder / "spots.tsv").write_text(self.spots)
        (self.folder / "counts.tsv").write_text(self.counts)
        return read_legacy_st(*(self.folder / name for name in ("image.png", "counts.tsv", "spots.tsv")), **options)


@pytest.fixture
def section(tmp_path: Path) -> Section:
    return Section(tmp_path)


def test_a_section(section: Section) -> None:
    sample = section.read(donor="d")
    assert (sample.id, sample.donor, sample.platform) == ("counts", "d", "legacy-st")
    assert sample.slide.mpp == pytest.approx(2.0, rel=1e-3)
    assert sample.slide.mpp_source == "spot pitch"
    assert sample.counts.name(0) == "5x4"  # in the order of the counts
    assert sample.counts.name(-1) == "1x1"
    assert sample.counts.matrix.toarray()[0].tolist() == [5, 4]
    assert np.allclose(sample.to_anndata().obsm["spatial"][-1], [101, 98])
    assert np.allclose(sample.regions.centers_um[-1], np.array([101, 98]) * sample.slide.mpp)
    assert np.allclose(sample.regions.areas_um2, np.pi * 50**2)


def test_on_a_staggered_array_the_nearest_spots_are_those_of_the_next_row(section: Section) -> None:
    # Columns are 90 pixels apart and the places of a row 2 x 120, so the nearest spots are 150 apart.
    places = [(x, y) for y in range(1, 5) for x in range(1, 6) if (x + y) % 2 == 0]
    lines = (f"{x}\t{y}\t{x}\t{y}\t{90 * x}\t{120 * y}\t1\n" for x, y in places)
    section.spots = HEADER + "".join(lines)
    section.counts = "\tA\tB\n" + "".join(f"{x}x{y}\t{x}\t{y}\n" for x, y in places)
    assert section.read().slide.mpp == pytest.approx(150 / 150, rel=1e-3)
    assert section.read(spot_pitch_um=300).slide.mpp == pytest.approx(2.0, rel=1e-3)
    # A square array of which the same places are left must be square.
    section.spots = section.spots.replace("5\t5\t", "5\t4\t") + "2\t1\t2\t1\t180\t120\t1\n"
    with pytest.raises(DataError, match="must be equally far apart"):
        section.read()


def test_pitch_and_diameter_can_be_told(section: Section) -> None:
    sample = section.read(id="mine", spot_pitch_um=150, spot_diameter_um=55)
    assert sample.id == "mine"
    assert sample.slide.mpp == pytest.approx(1.5, rel=1e-3)
    assert np.allclose(sample.regions.areas_um2, np.pi * 27.5**2)


def test_mpp_can_be_told_if_the_pitch_agrees(section: Section) -> None:
    sample = section.read(mpp=2.05)
    assert (sample.slide.mpp, sample.slide.mpp_source) == (2.05, "argument")
    with pytest.raises(DataError, match=r"spots\.tsv: a pitch of 200 um means 2 um per pixel, but 0\.5 was given"):
        section.read(mpp=0.5)


def test_spots_on_one_side_only_are_left_out_and_counted(section: Section) -> None:
    section.counts = section.counts.replace("2x2\t2\t2\n", "").replace(
        "3x3\t3\t3\n", "7x7\t1\t1\n9x9\t1\t1\n8x8\t1\t1\n"
    )
    with pytest.warns(
        PixNetWarning, match="'counts': 3 spots with counts but without a position .such as .* and 2 spots with a"
    ):
        sample = section.read()
    assert len(sample.counts) == 18


def test_spots_that_are_not_selected_are_left_out(section: Section) -> None:
    section.spots = section.spots.replace(spot_line(2, 2), spot_line(2, 2, selected=0))
    with pytest.warns(PixNetWarning, match=r"1 spot not under tissue .'2x2'. is left out, 19 remain"):
        assert "2x2" not in section.read().counts.region_names()
    section.spots = HEADER + "".join(spot_line(x, y, selected=0) for x, y in PLACES)
    with pytest.raises(DataError, match=r"spots\.tsv: no spot is selected"):
        section.read()


def test_adjusted_row_names_are_rounded(section: Section) -> None:
    section.counts = section.counts.replace("2x2\t", "1.97x2.04\t")
    assert len(section.read().counts) == 20


@pytest.mark.parametrize("name", ["4x1_1", "4x1-1", "C3_4x1", "C3 4x1", "4x1.A1", "X4x1", "4x1_section 2"])
def test_rows_called_by_place_and_sample_are_read_as_that_place(section: Section, name: str) -> None:
    before, after = name.split("4x1")
    right = section.read()
    section.counts = "\tA\tB\n" + "".join(f"{before}{x}x{y}{after}\t{x}\t{y}\n" for x, y in reversed(PLACES))
    read = section.read()
    assert read.counts.region_names().tolist() == right.counts.region_names().tolist()
    assert (read.counts.matrix != right.counts.matrix).nnz == 0
    assert np.allclose(read.regions.centers_um, right.regions.centers_um)


def test_rows_of_several_samples_are_refused(section: Section) -> None:
    section.counts = "\tA\tB\n" + "".join(f"{x}x{y}_{number}\t1\t1\n" for number in (1, 2) for x, y in reversed(PLACES))
    with pytest.raises(DataError, match=r"rows of several samples, such as '5x4_1' and '5x4_2'"):
        section.read()


def test_a_table_with_a_row_for_each_gene_is_turned(section: Section) -> None:
    right = section.read()
    section.counts = "gene," + ",".join(f"{x}x{y}" for x, y in reversed(PLACES))
    section.counts += (
        "\nA,"
        + ",".join(str(x) for x, _ in reversed(PLACES))
        + "\nB,"
        + ",".join(str(y) for _, y in reversed(PLACES))
        + "\n"
    )
    read = section.read()
    assert read.genes.tolist() == ["A", "B"]
    assert (read.counts.matrix != right.counts.matrix).nnz == 0


def test_what_a_pipeline_could_not_assign_is_no_gene_and_columns_of_one_gene_are_summed(section: Section) -> None:
    section.counts = "\tA\t__ambiguous[A+B]\tA\n" + "".join(f"{x}x{y}\t{x}\t9\t{y}\n" for x, y in PLACES)
    with pytest.warns(PixNetWarning, match="1 column of controls left out; 1 column added to others"):
        sample = section.read()
    assert sample.genes.tolist() == ["A"]
    assert sample.depth.tolist() == [x + y for x, y in PLACES]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2x2\t2\t2\n", "2x2\t2\tNA\n", "1 row with missing values .'2x2'. is left out, 19 remain"),
        (
            "2x2\t2\t2\n",
            "2x2\t2\t2\n2x2\t1\t1\n",
            "2 rows not called by a place of their own .such as .* left out, 19 remain",
        ),
        ("2x2\t", "total\t", "1 row not called by a place of their own .'total'. is left out, 19 remain"),
    ],
)
def test_odd_rows_of_counts_are_left_out_and_told(section: Section, old: str, new: str, message: str) -> None:
    section.counts = section.counts.replace(old, new)
    with pytest.warns(PixNetWarning, match=message):
        sample = section.read()
    assert "2x2" not in sample.counts.region_names()
    assert len(sample.counts) == 19


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2x2\t2\t2\n", "2x2\t2\t-2\n", r"counts\.tsv: spot '2x2' has '-2' of gene 'B'"),
        ("2x2\t2\t2\n", "2x2\t2\t1_1\n", r"counts\.tsv: spot '2x2' has '1_1' of gene 'B'"),
        ("x", " ", r"counts\.tsv: a row is called '5 4' \(20 of 20"),
    ],
)
def test_bad_counts(section: Section, old: str, new: str, message: str) -> None:
    section.counts = section.counts.replace(old, new)
    with pytest.raises(DataError, match=message):
        section.read()


@pytest.mark.parametrize(
    "new",
    [
        spot_line(2, 2) * 2,
        "2\t2\tnan\t2\t200\t200\t1\n",
        "2\t2\t2\t2\there\t200\t1\n",
        "2\t2\t2\n",
        "2\t2\t2\t2\t2_00\t200\t1\n",
    ],
)
def test_odd_spots_are_left_out_and_told(section: Section, new: str) -> None:
    right = section.read()
    section.spots = section.spots.replace(spot_line(2, 2), new)
    with pytest.warns(PixNetWarning, match="spots? whose place is repeated or no number"):
        sample = section.read()
    assert sample.counts.region_names().tolist() == [n for n in right.counts.region_names() if n != "2x2"]
    assert sample.slide.mpp == pytest.approx(right.slide.mpp)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_other_delimiters_quotes_and_encodings(section: Section, delimiter: str) -> None:
    right = section.read()
    spots, counts = section.spots.replace("\t", delimiter), section.counts.replace("A\tB", '"A"\t"B"')
    section.spots, section.counts = spots, counts.replace("\t", delimiter)
    assert section.read().to_anndata().to_df().equals(right.to_anndata().to_df())
    files = [section.folder / name for name in ("image.png", "counts.tsv", "spots.tsv")]
    for path, text in zip(files[1:], (section.counts, section.spots), strict=True):
        path.write_bytes(gzip.compress(text.replace("\n", "\r\n").encode("utf-16")))
    assert read_legacy_st(*files).to_anndata().to_df().equals(right.to_anndata().to_df())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pixel_y", "row", "has no column 'pixel_y'"),
        ("\t", "|", "has no column 'x'"),
        ("00\t1\n", "00 px\t1\n", "line 2 has .* as pixel_y; it must be a number .20 of 20"),
    ],
)
def test_bad_spot_files(section: Section, old: str, new: str, message: str) -> None:
    section.spots = section.spots.replace(old, new)
    with pytest.raises(DataError, match=rf"spots\.tsv: .*({message})"):
        section.read()


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), (HEADER, "no spots"), ("\0\xff\0", r"spots\.tsv")])
def test_spot_files_without_spots(section: Section, text: str, message: str) -> None:
    section.spots = text
    with pytest.raises(DataError, match=message):
        section.read()


def test_missing_and_binary_files(section: Section) -> None:
    section.read()
    good = {name: section.folder / name for name in ("image.png", "counts.tsv", "spots.tsv")}
    for name, kind in [("image.png", SlideError), ("counts.tsv", DataError), ("spots.tsv", DataError)]:
        with pytest.raises(kind, match=r"missing\.x"):
            read_legacy_st(*{**good, name: section.folder / "missing.x"}.values())
        with pytest.raises((DataError, SlideError)):
            read_legacy_st(*{**good, name: section.folder}.values())
    for name in ("counts.tsv", "spots.tsv"):
        with pytest.raises(DataError, match=r"image\.png"):
            read_legacy_st(*{**good, name: good["image.png"]}.values())


def test_no_spot_in_common(section: Section) -> None:
    section.counts = "\tA\n20x30\t1\n"
    with pytest.raises(DataError, match=r"counts\.tsv: none of its 1 spots is among the 20 of .*spots\.tsv"):
        section.read()
    section.counts = "\tA\n4x5\t1\n"
    with pytest.raises(DataError, match="x and y may be swapped"):
        section.read()


def test_positions_of_another_image(section: Section) -> None:
    Image.new("RGB", (300, 250)).save(section.folder / "image.png")
    with pytest.raises(DataError, match=r"counts\.tsv with .*spots\.tsv: .* of 20 regions lie outside the slide"):
        section.read()


def test_a_stretched_image(section: Section) -> None:
    lines = [f"{x}\t{y}\t{x}\t{y}\t{100 * x}\t{105 * y}\t1\n" for x, y in PLACES]
    section.spots = HEADER + "".join(lines)
    with pytest.raises(DataError, match=r"100\.0 pixels apart along x and 105\.0 along y"):
        section.read()


def test_positions_without_a_pitch(section: Section) -> None:
    section.spots = HEADER + "".join(spot_line(x, 1) for x in range(1, 6))
    section.counts = "\tA\n" + "".join(f"{x}x1\t1\n" for x in range(1, 6))
    with pytest.raises(DataError, match="spots are on one line, so it gives no pixel size"):
        section.read()
    assert section.read(mpp=2.0).slide.mpp_source == "argument"


def test_positions_that_contradict_the_array(section: Section) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(50, 450, (20, 2))
    section.spots = HEADER + "".join(
        f"{x}\t{y}\t{x}\t{y}\t{a:.1f}\t{b:.1f}\t1\n" for (x, y), (a, b) in zip(PLACES, pixels, strict=True)
    )
    with pytest.raises(DataError, match=r"spots\.tsv"):
        section.read()


@pytest.mark.parametrize("options", [{"spot_pitch_um": 0}, {"spot_diameter_um": -1}, {"spot_pitch_um": float("nan")}])
def test_senseless_sizes(section: Section, options: dict[str, float]) -> None:
    with pytest.raises(DataError, match="must be a positive number of um"):
        section.read(**options)


HER2ST = {"C2": (187, 15706, 0), "C3": (180, 15821, 2), "C4": (184, 15842, 3), "C5": (181, 15721, 2)}


@pytest.mark.parametrize("name", HER2ST)
def test_her2st(shared: Path, name: str) -> None:
    folder = shared / "data/her2st/data"
    regions, genes, without_counts = HER2ST[name]
    image = next((folder / "ST-imgs/C" / name).glob("*.jpg"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PixNetWarning)
        sample = read_legacy_st(
            image, folder / f"ST-cnts/{name}.tsv.gz", folder / f"ST-spotfiles/{name}_selection.tsv", donor="C"
        )
    said = [str(w.message) for w in caught if issubclass(w.category, PixNetWarning)]
    assert len(said) == (1 if without_counts else 0)
    assert all(f"'{name}': {without_counts} spots with a position but without counts" in text for text in said)
    assert sample.counts.shape == (regions, genes)
    assert sample.id == name
    assert sample.slide.mpp == pytest.approx(0.69, abs=0.005)
    assert sample.slide.mpp_source == "spot pitch"
    assert sample.depth.min() > 0


def test_the_small_section(shared: Path) -> None:
    folder = shared / "data/fixtures/legacy-st-small"
    sample = read_legacy_st(folder / "image.jpg", folder / "counts.tsv", folder / "spots.tsv", id="small")
    assert sample.counts.shape == (282, 10)
    assert sample.slide.mpp == pytest.approx(200 / 29.07, rel=1e-3)
    assert sample.to_anndata()[["17x17"], ["Calm1"]].X.toarray().item() == 37
    centre = sample.regions.centers_um[sample.counts.region_names().get_loc("17x17")]
    assert np.allclose(centre / sample.slide.mpp, [462.1, 465.8])


@pytest.mark.parametrize(("name", "regions"), [("MOB1", 379), ("MOB4", 403)])
def test_sections_of_the_second_generation(shared: Path, name: str, regions: int) -> None:
    files = (f"{name}.jpg", f"{name}.tsv.gz", f"alignment_table_{name}.tsv")
    with pytest.warns(PixNetWarning, match="spots (not under tissue|with counts but without a position)"):
        sample = read_legacy_st(*(shared / "data/mob" / file for file in files))
    assert sample.counts.shape == (regions, 1000)
    assert sample.slide.mpp == pytest.approx(4.63, abs=0.02)
