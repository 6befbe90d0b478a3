"""Properties of tables that people have: each small file is read with the right values, or named for what it is."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from pixnet.errors import DataError, PixNetWarning
from pixnet.readers.anndata.reader import read_anndata
from pixnet.readers.formats.kinds import kind_of_file
from pixnet.readers.formats.tenx_matrix import read_tenx_matrix
from pixnet.readers.formats.tenx_spatial import read_positions, read_scalefactors
from pixnet.readers.formats.text import numbers
from pixnet.readers.legacy_st import read_legacy_st
from pixnet.readers.manifest import manifest_entries
from pixnet.sample import Sample

PLACES = [(x, y) for y in range(1, 6) for x in range(1, 6)]
SPOTS = "x\ty\tpixel_x\tpixel_y\n" + "".join(f"{x}\t{y}\t{100 * x}\t{100 * y}\n" for x, y in PLACES)
COUNTS = "\tA\tB\n" + "".join(f"{x}x{y}\t{x}\t{y}\n" for x, y in PLACES)
IDS = [f"ENSG0000000000{i}" for i in range(5)]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "slide.png"
    Image.fromarray(np.full((600, 600, 3), 200, np.uint8)).save(path)
    return path


def legacy(image: Path, spots: str, counts: str) -> Sample:
    folder = image.parent
    (folder / "spots.tsv").write_bytes(spots.encode())
    (folder / "counts.tsv").write_bytes(counts.encode())
    return read_legacy_st(image, folder / "counts.tsv", folder / "spots.tsv")


SECTIONS = {
    "decimal commas": (SPOTS.replace("00\t", "00,0\t").replace("00\n", "00,0\n").replace("\t", ";"), COUNTS),
    "comments": ("# exported\n# 2020\n" + SPOTS, COUNTS),
    "capitals": (SPOTS.replace("x\ty\tpixel_x\tpixel_y", "X\tY\tPixel_X\tPIXEL_Y"), COUNTS),
    "line ends of old": (SPOTS.replace("\n", "\r"), COUNTS.replace("\n", "\r")),
    "delimiter at the end": (SPOTS, COUNTS.replace("\n", "\t\n")),
    "of R": (SPOTS, COUNTS.replace("\tA\tB", '"A"\t"B"')),
    "numbers as reals": (SPOTS, "\tA\tB\n" + "".join(f"{x}x{y}\t{x}.0\t{y}e0\n" for x, y in PLACES)),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_legacy_sections_in_other_dialects(image: Path, name: str) -> None:
    sample = legacy(image, *SECTIONS[name])
    assert sample.counts.region_names().tolist() == [f"{x}x{y}" for x, y in PLACES]
    np.testing.assert_array_equal(sample.counts.matrix.toarray(), PLACES)
    np.testing.assert_allclose(sample.regions.centers_um, 200.0 * np.array(PLACES))


def test_numbers_are_never_guessed() -> None:
    assert numbers(["1,5", "2,25", "3"]).tolist() == [1.5, 2.25, 3.0]
    assert np.isnan(numbers(["1,234", "2,345"])).all()  # thousands or decimals
    assert np.isnan(numbers(["1_1", "inf", "nan", "0x10", "1,2,3", ""])).all()


def table(change: Callable[[anndata.AnnData], Any]) -> anndata.AnnData:
    made = anndata.AnnData(np.arange(30, dtype=np.float32).reshape(6, 5))
    made.var_names = [f"G{i}" for i in range(5)]
    made.obs_names = [f"s{i}" for i in range(6)]
    made.obsm["spatial"] = np.arange(1, 7)[:, None] * np.array([[10.0, 20.0]])
    change(made)
    return made


def genome(made: anndata.AnnData) -> None:
    made.var_names = [f"GRCh38_G{i}" for i in range(5)]
    made.var["gene_ids"] = [f"GRCh38_{name}.7" for name in IDS]


def small_letters(made: anndata.AnnData) -> None:
    made.var_names = [name.lower() for name in IDS]
    made.var["symbol"] = [f"G{i}" for i in range(5)]


def pairs(made: anndata.AnnData) -> None:
    made.var_names = [f"{name}.3_G{i}" for i, name in enumerate(IDS)]


@pytest.mark.parametrize("change", [genome, small_letters, pairs])
def test_genes_are_told_however_they_are_called(image: Path, change: Callable[[anndata.AnnData], Any]) -> None:
    counts = read_anndata(table(change), image, mpp=0.5, diameter_um=20).counts
    assert list(counts.genes) == [f"G{i}" for i in range(5)]
    assert counts.gene_ids is not None
    assert list(counts.gene_ids) == IDS


def in_space(made: anndata.AnnData) -> None:
    made.obsm["spatial"] = np.column_stack([made.obsm["spatial"], np.zeros(6)])


def as_frame(made: anndata.AnnData) -> None:
    made.obsm["spatial"] = pd.DataFrame(made.obsm["spatial"], made.obs_names, ["x", "y"])


def as_sparse(made: anndata.AnnData) -> None:
    made.obsm["spatial"] = sparse.csr_matrix(made.obsm["spatial"])


@pytest.mark.parametrize("change", [in_space, as_frame, as_sparse])
@pytest.mark.parametrize("stored", [False, True])
def test_positions_of_any_form(image: Path, change: Callable[[anndata.AnnData], Any], stored: bool) -> None:
    made: Any = table(change)
    if stored:
        path = image.with_name("t.h5ad")
        made.write_h5ad(path)
        made = path
    sample = read_anndata(made, image, mpp=0.5, diameter_um=20)
    np.testing.assert_allclose(sample.regions.centers_um, np.arange(1, 7)[:, None] * np.array([[5.0, 10.0]]))


def test_sections_called_by_numbers_and_rows_without_a_section(image: Path) -> None:
    made = table(lambda made: made.obs.insert(0, "library_id", [1, 2] * 3))
    sample = read_anndata(made, image, mpp=0.5, diameter_um=20, library_id="2")
    assert list(sample.counts.region_names()) == ["s1", "s3", "s5"]
    made = table(lambda made: made.obs.insert(0, "library_id", ["A", None, "A", "A", "A", "A"]))
    with pytest.warns(PixNetWarning, match="1 row without a section .'s1'. is left out, 5 remain"):
        assert len(read_anndata(made, image, mpp=0.5, diameter_um=20).regions) == 5


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "an empty file"),
        (b"a,b\n1,2\n", "a text file"),
        (gzip.compress(b"RDX3\nX\n"), "a file of R"),
        (gzip.compress(b"\x89HDF\r\n\x1a\n"), "an HDF5 file, packed with gzip"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "file").write_bytes(data)
    assert str(kind_of_file(tmp_path / "file")).startswith(kind)


ENTRY = '[[sample]]\nid = "a"\nplatform = "legacy-st"\nimage = "he.jpg"\ncounts = "c.tsv"\nspots = "s.tsv"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.replace("legacy-st", "Legacy_ST"), "Did you mean 'legacy-st'"),
        (ENTRY.replace('"', "\u201d"), "Quotes must be plain"),
        (ENTRY.replace('"a"', "3"), 'id = 3 is a number; write texts in quotes, id = "3"'),
        (ENTRY + "mpp = 0,5\n", "Decimals are written with a point"),
        (ENTRY.replace(" = ", ": "), "stands =, not a colon"),
        (ENTRY + "swap_xy = True\n", "true and false are written in small letters"),
    ],
)
def test_manifests_in_other_dialects_say_what_to_write(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.toml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        manifest_entries(tmp_path / "m.toml")
    (tmp_path / "m.toml").write_bytes(ENTRY.encode("utf-16-le"))
    with pytest.raises(DataError, match="UTF-16 without a byte order mark"):
        manifest_entries(tmp_path / "m.toml")


def test_positions_with_flags_in_words_and_a_line_that_was_cut(tmp_path: Path) -> None:
    text = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n"
    text += "".join(f"A{i}-1,{'TRUE' if i else 'FALSE'},{i},{i % 2},{10 * i}.5,{i + 20}\n" for i in range(6))
    (tmp_path / "p.csv").write_text(text[:-8])
    positions, odd = read_positions(tmp_path / "p.csv")
    assert odd == ["A5-1"]
    assert positions["in_tissue"].tolist() == [0, 1, 1, 1, 1]
    (tmp_path / "p.csv").write_text(text.replace(",", ";").replace(".5", ",5"))
    assert read_positions(tmp_path / "p.csv")[0]["pxl_row_in_fullres"].tolist() == [10 * i + 0.5 for i in range(6)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_scale_factors_as_texts_and_beside_others(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "f.json"
    path.write_bytes('{"spot_diameter_fullres": "5.0", "regist": null, "other": 0, "flag": true}'.encode(encoding))
    assert read_scalefactors(path) == {"spot_diameter_fullres": 5.0}
    path.write_text('{"spot_diameter_fullres": 0}')
    with pytest.raises(DataError, match="'spot_diameter_fullres' is 0; a scale factor is a positive number"):
        read_scalefactors(path)


FEATURES = "ENSG1\tA\tGene Expression\nENSG2\tB\tGene Expression\n"


@pytest.mark.parametrize(
    "features",
    [
        FEATURES,
        FEATURES.replace("\n", "\r\n"),
        "gene_id\tgene_name\ttype\n" + FEATURES,
        '"ENSG1"\t"A"\t"Gene Expression"\n"ENSG2"\t"B"\t"Gene Expression"\n',
    ],
)
def test_features_in_other_dialects(tmp_path: Path, features: str) -> None:
    (tmp_path / "features.tsv").write_bytes(features.encode())
    (tmp_path / "barcodes.tsv").write_text("A-1\nB-1\nC-1\n")
    matrix = "%%MatrixMarket matrix coordinate integer general\n2 3 2\n1 1 3\n2 3 4\n"
    (tmp_path / "matrix.mtx").write_text(matrix)
    read = read_tenx_matrix(tmp_path)
    assert (read.names, read.ids) == (["A", "B"], ["ENSG1", "ENSG2"])
    assert read.matrix.toarray().tolist() == [[3, 0], [0, 0], [0, 4]]
    (tmp_path / "matrix.mtx").write_text(matrix.replace("2 3 2\n1 1 3\n2 3 4", "3 2 1\n3 1 4"))
    with pytest.raises(DataError, match="has a row for each barcode"):
        read_tenx_matrix(tmp_path)
    (tmp_path / "matrix.mtx").write_text(matrix.replace("1 1 3", "1 1 3_0"))
    with pytest.raises(DataError, match="is not a Matrix Market file"):
        read_tenx_matrix(tmp_path)
