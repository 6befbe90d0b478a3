from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from pixnet.errors import DataError, PixNetWarning, SlideError
from pixnet.readers.anndata.reader import read_anndata
from pixnet.readers.formats.pitch import fit_squares, pitch, squares_around
from pixnet.regions import Disks, Polygons, Squares
from pixnet.slide import Slide

SIZE = {"mpp": 0.5, "diameter_um": 20.0}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "slide.png"
    Image.fromarray(np.full((300, 400, 3), 200, np.uint8)).save(path)
    return path


def counts(rows: int = 6, genes: int = 5) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).poisson(1.0, (rows, genes)).astype(np.float32)


def table(matrix: Any = None, **obs: Any) -> anndata.AnnData:
    """A table of six regions at (10, 20), (20, 40), ... in pixels."""
    matrix = counts() if matrix is None else matrix
    made = anndata.AnnData(matrix)
    made.var_names = [f"G{i}" for i in range(matrix.shape[1])]
    made.obs_names = [f"spot{i}" for i in range(len(matrix))]
    for name, column in obs.items():
        made.obs[name] = column
    if not obs:
        made.obsm["spatial"] = np.arange(1, len(matrix) + 1)[:, None] * np.array([[10, 20]])
    return made


def stored(made: anndata.AnnData, folder: Path, kind: str) -> Path | anndata.AnnData:
    if kind == "memory":
        return made
    folder.mkdir(exist_ok=True)
    path = folder / f"table.{kind}"
    if kind == "zarr":
        made.write_zarr(path)
    else:
        made.write_h5ad(path, compression="gzip")
    return path


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "memory"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_a_table_is_read_from_anywhere(tmp_path: Path, image: Path, kind: str, form: Any) -> None:
    made = table()
    made.X = form(made.X)
    sample = read_anndata(stored(made, tmp_path, kind), image, donor="D", **SIZE)
    np.testing.assert_array_equal(sample.counts.matrix.toarray(), counts())
    np.testing.assert_array_equal(sample.regions.centers_um, np.arange(1, 7)[:, None] * [[5.0, 10.0]])
    assert isinstance(sample.regions, Disks)
    assert set(sample.regions.diameters_um) == {20.0}
    assert (sample.id, sample.donor, sample.platform) == ("anndata" if kind == "memory" else "table", "D", "anndata")
    assert list(sample.counts.region_names()) == [f"spot{i}" for i in range(6)]
    assert sample.slide.mpp_source == "argument"
    # What is in memory stays as it was.
    sample.counts.matrix.data[:] = 7
    assert (sparse.csr_matrix(made.X) != sparse.csr_matrix(counts())).nnz == 0


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "memory"])
def test_raw_counts_are_found_where_they_are(tmp_path: Path, image: Path, kind: str) -> None:
    made = table()
    made.layers["counts"] = made.X.copy()
    made.X = np.log1p(made.X)
    found = read_anndata(stored(made, tmp_path / "a", kind), image, **SIZE)
    assert found.counts.notes["counts_from"] == "counts"
    np.testing.assert_array_equal(found.counts.matrix.toarray(), counts())

    made = table()
    made.raw = made.copy()
    made = made[:, :3].copy()
    made.X = np.log1p(made.X)
    found = read_anndata(stored(made, tmp_path / "b", kind), image, **SIZE)
    assert found.counts.notes["counts_from"] == "raw"
    assert found.counts.shape == (6, 5)

    made = table()
    made.layers["one"], made.layers["two"], made.layers["scaled"] = made.X.copy(), made.X + 1, made.X / 3
    made.X = np.log1p(made.X)
    where = stored(made, tmp_path / "c", kind)
    message = r"no raw counts \(X holds 0\.69.*Layers with whole numbers: 'one', 'two'\. .*`layer`"
    with pytest.raises(DataError, match=message):
        read_anndata(where, image, **SIZE)
    assert read_anndata(where, image, layer="one", **SIZE).counts.notes["counts_from"] == "one"
    with pytest.raises(DataError, match=r"no layer 'raw'\. Layers: 'one', 'scaled', 'two'"):
        read_anndata(where, image, layer="raw", **SIZE)
    with pytest.raises(DataError, match=r"scaled holds 0\.33"):
        read_anndata(where, image, layer="scaled", **SIZE)


@pytest.mark.parametrize("name", ["Counts", "raw_count", "raw.counts", "UMI", "anything"])
def test_layers_of_counts_are_told_by_name_or_content(image: Path, name: str) -> None:
    made = table()
    made.layers[name], made.layers["seen"] = made.X.copy(), np.minimum(made.X, 1)
    if name == "anything":
        del made.layers["seen"]
    made.X = np.log1p(made.X)
    found = read_anndata(made, image, **SIZE)
    assert found.counts.notes["counts_from"] == name
    np.testing.assert_array_equal(found.counts.matrix.toarray(), counts())


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_an_x_that_stands_for_nothing_is_not_read(tmp_path: Path, image: Path, kind: str) -> None:
    made = table()
    made.layers["counts"] = sparse.csr_matrix(made.X)
    made.X = None
    path = stored(made, tmp_path, kind)
    if kind == "h5ad":  # as anndata 0.12.1 wrote it
        with h5py.File(path, "a") as file:
            file.create_dataset("X", data=h5py.Empty("f4")).attrs["encoding-type"] = "null"
    assert read_anndata(path, image, **SIZE).counts.notes["counts_from"] == "counts"


@pytest.mark.parametrize("dtype", ["f2", ">f4", ">i4", "u1", "i8", "bool", "f8"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_counts_of_any_type_are_read(tmp_path: Path, image: Path, dtype: str, form: Any) -> None:
    path = stored(table(), tmp_path, "h5ad")
    wanted = counts() if dtype != "bool" else (counts() > 0).astype(np.float32)
    matrix = form(wanted)
    with h5py.File(path, "a") as file:
        del file["X"]
        if isinstance(matrix, np.ndarray):
            file.create_dataset("X", data=matrix.astype(dtype)).attrs["encoding-type"] = "array"
        else:
            group = file.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = f"{matrix.format}_matrix", matrix.shape
            for part in ("data", "indices", "indptr"):
                values = getattr(matrix, part)
                group.create_dataset(part, data=values.astype(dtype if part == "data" else values.dtype))
    np.testing.assert_array_equal(read_anndata(path, image, **SIZE).counts.matrix.toarray(), wanted)


@pytest.mark.parametrize("kind", ["h5ad", "memory"])
@pytest.mark.parametrize(
    "flags",
    [
        [1, 0, 1, 1, 0, 1],
        ["True", "False", "True", "True", "False", "True"],
        [True, False, True, True, False, True],
        ["1", "0", "1", "1", "0", "1"],
        [1.0, np.nan, 1.0, 1.0, 0.0, 1.0],
        pd.Categorical(["yes", "no", "yes", "yes", "no", "yes"]),
    ],
)
@pytest.mark.parametrize("name", ["in_tissue", "On Tissue"])
def test_only_rows_under_tissue_are_regions(tmp_path: Path, image: Path, kind: str, flags: Any, name: str) -> None:
    made = table()
    made.obs[name] = flags
    with pytest.warns(PixNetWarning, match="2 rows not under tissue .such as 'spot1'. are left out, 4 remain"):
        sample = read_anndata(stored(made, tmp_path, kind), image, **SIZE)
    assert list(sample.counts.region_names()) == ["spot0", "spot2", "spot3", "spot5"]
    np.testing.assert_array_equal(sample.counts.matrix.toarray(), counts()[[0, 2, 3, 5]])
    np.testing.assert_array_equal(sample.regions.centers_um[1], [15.0, 30.0])


def test_a_column_that_is_called_tissue_may_be_the_organ(image: Path) -> None:
    made = table()
    made.obs["tissue"] = "breast"
    assert len(read_anndata(made, image, **SIZE).regions) == 6
    made.obs["in_tissue"] = 0
    with pytest.raises(DataError, match=r"none of its 6 rows is under tissue \(in_tissue = 1\)"):
        read_anndata(made, image, **SIZE)
    made.obs["in_tissue"] = [1, 0, 7, 7, 7, 7]
    with pytest.raises(DataError, match="4 of 6 rows have neither 0 nor 1 as in_tissue, such as '7'"):
        read_anndata(made, image, **SIZE)


@pytest.mark.parametrize("kind", ["h5ad", "memory"])
def test_rows_without_a_position_or_with_a_count_that_is_none_are_left_out(
    tmp_path: Path, image: Path, kind: str
) -> None:
    made = table()
    made.obsm["spatial"] = made.obsm["spatial"].astype(float)
    made.obsm["spatial"][1] = np.nan
    made.X[4, 2] = np.inf
    with pytest.warns(
        PixNetWarning,
        match="1 row without a position in .* .'spot1'. is left out, 5 remain; 1 row with counts .* .'spot4'.",
    ):
        sample = read_anndata(stored(made, tmp_path, kind), image, **SIZE)
    assert list(sample.counts.region_names()) == ["spot0", "spot2", "spot3", "spot5"]
    np.testing.assert_array_equal(sample.counts.matrix.toarray(), counts()[[0, 2, 3, 5]])
    np.testing.assert_array_equal(sample.regions.centers_um[:, 0], [5.0, 15.0, 20.0, 30.0])


def two_sections(kind: str) -> anndata.AnnData:
    """Sections A (rows 0, 2, 4) and B (1, 3, 5), told apart in different ways."""
    made = table()
    made.obs["sample name" if kind == "content" else "library_id"] = ["A", "B"] * 3
    if kind == "content":
        made.obs["array_row"], made.obs["array_col"] = [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2]
    if kind == "libraries":
        made.obs = made.obs.rename(columns={"library_id": "who"})
        factors = {"spot_diameter_fullres": 30.0}
        made.uns["spatial"] = {"A": {"scalefactors": factors}, "B": {"scalefactors": {"spot_diameter_fullres": 60.0}}}
    return made


@pytest.mark.parametrize("kind", ["libraries", "name", "content"])
def test_of_several_sections_one_is_chosen(tmp_path: Path, image: Path, kind: str) -> None:
    path = stored(two_sections(kind), tmp_path, "h5ad")
    with pytest.raises(DataError, match=r"holds 2 sections \(obs\['.*'\]: 'A', 'B'\), .*one with `library_id`"):
        read_anndata(path, image, **SIZE)
    sample = read_anndata(path, image, library_id="B", **SIZE)
    assert list(sample.counts.region_names()) == ["spot1", "spot3", "spot5"]
    np.testing.assert_array_equal(sample.regions.centers_um[:, 0], [10.0, 20.0, 30.0])
    np.testing.assert_array_equal(sample.counts.matrix.toarray(), counts()[[1, 3, 5]])
    with pytest.raises(DataError, match=r"'C'.*`library_id`"):
        read_anndata(path, image, library_id="C", **SIZE)
    if kind == "libraries":
        own = read_anndata(path, image, library_id="B", mpp=0.5)
        assert isinstance(own.regions, Disks)
        assert set(own.regions.diameters_um) == {30.0}


def test_a_table_that_was_cut_to_one_section_needs_no_choice(image: Path) -> None:
    made = two_sections("libraries")[[0, 2, 4]].copy()
    sample = read_anndata(made, image, mpp=0.5)
    assert isinstance(sample.regions, Disks)
    assert set(sample.regions.diameters_um) == {15.0}
    made = two_sections("content")
    del made.obs["sample name"]
    with pytest.raises(DataError, match="no column of obs tells them apart"):
        read_anndata(made, image, **SIZE)


@pytest.mark.parametrize("bad", [-1.0, 0.5])
def test_what_is_no_count_is_refused(image: Path, bad: float) -> None:
    made = table()
    made.X[2, 3] = bad
    with pytest.raises(DataError, match=f"no raw counts .X holds {bad:g}.*There is no layer with whole numbers"):
        read_anndata(made, image, **SIZE)


def test_coordinates_come_in_order(image: Path) -> None:
    n = np.arange(1.0, 7.0)
    columns: dict[str, Any] = {
        "pxl_col_in_fullres": n,
        "pxl_row_in_fullres": n + 100,
        "x_pixel": 2 * n,
        "y_pixel": n,
        "x_um": 3 * n,
        "y_um": n,
        "x_centroid": 4 * n,
        "y_centroid": n,
    }
    expected = [(0.5, 50.5), (1.0, 0.5), (3.0, 1.0), (4.0, 1.0)]
    for first, centre in enumerate(expected):
        chosen = {name: columns[name] for name in list(columns)[2 * first :]}
        sample = read_anndata(table(**chosen), image, **SIZE)
        np.testing.assert_allclose(sample.regions.centers_um[0], centre)
        assert sample.counts.notes["coordinates_from"] == f"obs{list(chosen)[:2]}"
    made = table(**columns)
    made.obsm["spatial"] = np.column_stack([5 * n, n])
    np.testing.assert_allclose(read_anndata(made, image, **SIZE).regions.centers_um[0], (2.5, 0.5))
    np.testing.assert_allclose(read_anndata(made, image, swap_xy=True, **SIZE).regions.centers_um[0], (0.5, 2.5))
    # As some tools leave it for Xenium: um, though it is called like pixels.
    made.obsm["spatial"] = np.column_stack([4 * n, n])
    np.testing.assert_allclose(read_anndata(made, image, **SIZE).regions.centers_um[0], (4.0, 1.0))


def test_coordinates_that_cannot_be_used_are_named(image: Path) -> None:
    with pytest.raises(DataError, match=r"has no coordinates\. .*obsm\['spatial'\]"):
        read_anndata(table(other=1), image, **SIZE)
    made = table()
    made.obsm["spatial"] = np.full((6, 2), np.nan)
    with pytest.raises(DataError, match=r"none of its 6 rows has numbers as position in obsm\['spatial'\]"):
        read_anndata(made, image, **SIZE)
    with pytest.raises(DataError, match=r"none of its 6 rows has numbers as position in obs\['x_um', 'y_um'\]"):
        read_anndata(table(x_um=["a"] * 6, y_um=["b"] * 6), image, **SIZE)
    made.obsm["spatial"] = np.arange(1, 7)[:, None] * np.array([[10, 60]])
    with pytest.raises(DataError, match=r"1 of 6 regions lie outside.*may be swapped.*`swap_xy=True`"):
        read_anndata(made, image, **SIZE)
    assert len(read_anndata(made, image, swap_xy=True, **SIZE).regions) == 6


def test_sizes_are_asked_for(image: Path) -> None:
    made = table()
    with pytest.raises(DataError, match=r"how large a region is\. Give `diameter_um` for disks, or `side_um`"):
        read_anndata(made, image, mpp=0.5)
    with pytest.raises(DataError, match="give one of them"):
        read_anndata(made, image, mpp=0.5, side_um=3.0, diameter_um=3.0)
    for size in ({"side_um": -1.0}, {"diameter_um": 0.0}, {"side_um": float("nan")}):
        with pytest.raises(DataError, match="positive"):
            read_anndata(made, image, mpp=0.5, **size)
    with pytest.raises(SlideError, match="no pixel size"):
        read_anndata(made, image, diameter_um=3.0)
    with pytest.raises(DataError, match="full-resolution image"):
        read_anndata(made, None, **SIZE)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "memory"])
def test_scale_factors_are_used_and_pictures_are_not(tmp_path: Path, image: Path, kind: str) -> None:
    made = table()
    factors = {"spot_diameter_fullres": 30.0, "tissue_hires_scalef": 0.1}
    picture = np.zeros((40, 30, 3), np.float32)
    made.uns["spatial"] = {"A": {"images": {"hires": picture}, "scalefactors": factors, "metadata": {"x": "y"}}}
    sample = read_anndata(stored(made, tmp_path / "a", kind), image, mpp=0.5)
    assert isinstance(sample.regions, Disks)
    assert set(sample.regions.diameters_um) == {15.0}
    made.uns["spatial"]["B"] = {"scalefactors": {**factors, "spot_diameter_fullres": 40.0}}
    with pytest.raises(DataError, match="how large a region is"):
        read_anndata(stored(made, tmp_path / "b", kind), image, mpp=0.5)
    # As Space Ranger writes them for Visium HD.
    made.uns["spatial"] = {"A": {"scalefactors": {**factors, "bin_size_um": 8.0, "microns_per_pixel": 0.4}}}
    where = stored(made, tmp_path / "c", kind)
    sample = read_anndata(where, image)
    assert (sample.slide.mpp, sample.slide.mpp_source) == (0.4, "microns_per_pixel")
    np.testing.assert_allclose(sample.regions.areas_um2, 64.0)
    with pytest.raises(DataError, match=r"states 0\.4 um per pixel \(microns_per_pixel\), but 0\.5 was given"):
        read_anndata(where, image, mpp=0.5)


def test_genes_go_by_symbol_and_are_told(image: Path) -> None:
    made = table()
    made.var_names = [f"ENSG0000000000{i}" for i in range(5)]
    made.var["feature_name"] = pd.Categorical(["A", "B", "A", None, "NegControlProbe_1"])
    with pytest.warns(PixNetWarning, match=r"'S': 1 column of controls left out; 1 column added to") as told:
        sample = read_anndata(made, image, id="S", **SIZE)
    assert sum(warning.category is PixNetWarning for warning in told) == 1
    assert list(sample.genes) == ["A", "B", "ENSG00000000003"]
    assert sample.counts.gene_ids is not None
    assert list(sample.counts.gene_ids) == ["ENSG00000000000", "ENSG00000000001", "ENSG00000000003"]
    np.testing.assert_array_equal(sample.counts.matrix.toarray()[:, 0], counts()[:, [0, 2]].sum(axis=1))
    made = table()
    made.var["gene_ids"] = [f"ENSG0000000000{i}.3" for i in range(5)]
    sample = read_anndata(made, image, **SIZE)
    assert sample.counts.gene_ids is not None
    assert (sample.genes[0], sample.counts.gene_ids[0]) == ("G0", "ENSG00000000000")


SYMBOLS = ["ERBB2", "HLA-A", "CD74", "MT-CO1", "KRT8"]
IDS = [f"ENSG0000014173{i}.{i}" for i in range(5)]


@pytest.mark.parametrize("column", ["SYMBOL", "real_gene_name", "hgnc symbol", "gene.name", "whatever"])
def test_symbols_are_told_by_content(image: Path, column: str) -> None:
    made = table()
    made.var_names = IDS
    made.var["feature_types"] = "Gene Expression"
    made.var["chromosome"] = ["chr1", "chr1", "chr2", "chr2", "chrM"]
    made.var["entrez"] = ["2064", "3105", "972", "4512", "3856"]
    made.var["refseq"] = [f"NM_00444{i}.2" for i in range(5)]
    made.var["description"] = [f"the gene number {i}" for i in range(5)]
    made.var[column] = SYMBOLS
    counts = read_anndata(made, image, **SIZE).counts
    assert list(counts.genes) == SYMBOLS
    assert counts.gene_ids is not None
    assert list(counts.gene_ids) == [name.split(".")[0] for name in IDS]


def test_ids_are_told_by_content_and_lose_their_version(image: Path) -> None:
    made = table()
    made.var_names = SYMBOLS
    made.var["anything"] = IDS
    counts = read_anndata(made, image, **SIZE).counts
    assert (list(counts.genes), list(counts.gene_ids)) == (SYMBOLS, [name.split(".")[0] for name in IDS])
    made.var_names = [str(i) for i in range(5)]
    made.var["n"] = SYMBOLS
    counts = read_anndata(made, image, **SIZE).counts
    assert (list(counts.genes), list(counts.gene_ids)) == (SYMBOLS, [name.split(".")[0] for name in IDS])
    made = table()
    made.var_names = IDS
    assert list(read_anndata(made, image, **SIZE).genes) == [name.split(".")[0] for name in IDS]


def test_what_is_no_anndata_is_named(tmp_path: Path, image: Path) -> None:
    cases = {
        "mod/rna/X": "MuData of 'rna': write",
        "row_attrs/a,col_attrs/b": "a loom file",
        "matrix/barcodes": "10x Genomics",
    }
    for place, message in cases.items():
        path = tmp_path / f"{place[:3]}.h5ad"
        with h5py.File(path, "w") as file:
            for name in (*place.split(","), "obs/x", "var/x"):
                file[name] = [1]
        with pytest.raises(DataError, match=message):
            read_anndata(path, image, **SIZE)
    made = stored(table(), tmp_path, "h5ad")
    packed = tmp_path / "packed.h5ad"
    for data, message in (
        (gzip.compress(made.read_bytes()), "it is an HDF5 file, packed with gzip. Unpack it first"),
        (b"PK\x03\x04" + bytes(40), "it is a zip archive. Unpack it first"),
        (b"<!DOCTYPE html><html></html>", "it is a web page .the download may have failed"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
    ):
        packed.write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_anndata(packed, image, **SIZE)


def test_a_codec_that_needs_a_plug_in_is_named(tmp_path: Path, image: Path) -> None:
    path = stored(table(), tmp_path, "h5ad")
    with h5py.File(path, "a") as file:
        del file["X"]
        packing = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        packing.set_chunk((6, 5))
        packing.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((6, 5))
        made = h5py.h5d.create(file.id, b"X", h5py.h5t.NATIVE_FLOAT, space, packing)
        made.write_direct_chunk((0, 0), bytes(120), 0)
    with pytest.raises(DataError, match=r"X is packed with zstd .HDF5 filter 32015.*hdf5plugin.*gzip"):
        read_anndata(path, image, **SIZE)


def test_a_sample_survives_its_own_table(image: Path) -> None:
    sample = read_anndata(table(), Slide.open(image, 0.5), diameter_um=20.0)
    again = read_anndata(sample.to_anndata(), image, **SIZE)
    np.testing.assert_allclose(again.regions.centers_um, sample.regions.centers_um)
    assert (again.counts.matrix != sample.counts.matrix).nnz == 0


@pytest.mark.parametrize("angle", [0.0, 0.7, 30.0, -44.9])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_lattices_are_found(angle: float, noise: float) -> None:
    rng = np.random.default_rng(1)
    rows, cols = np.divmod(np.flatnonzero(rng.random(80 * 50) < 0.5), 50)
    truth = Squares(700.0, 900.0, 8.0, rows, cols, angle)
    centres = truth.centers_um + rng.uniform(-noise, noise, (len(truth), 2))
    for side in (None, 8.0, 8.2):
        found = fit_squares(centres, side)
        assert found is not None
        assert found.side_um == pytest.approx(8.0, abs=1e-3 if noise else 1e-9)
        np.testing.assert_allclose(found.centers_um, truth.centers_um, atol=4 * noise + 1e-6)
        assert (found.angle_deg == 0) == (angle == 0 and not noise)
    assert fit_squares(centres, 16.0) is None
    assert isinstance(squares_around(centres, 5.0), Polygons)


def test_what_is_no_lattice_makes_boxes() -> None:
    points = np.random.default_rng(2).uniform(0, 1000, (300, 2))
    assert fit_squares(points) is None
    assert fit_squares(points[:1]) is None
    assert fit_squares(np.ones((5, 2))) is None
    boxes = squares_around(points, 10.0)
    np.testing.assert_allclose(boxes.centers_um, points)
    np.testing.assert_allclose(boxes.areas_um2, 100.0)


def test_the_pitch_is_measured_over_all_neighbours() -> None:
    rng = np.random.default_rng(3)
    rows, cols = np.divmod(np.arange(600), 20)
    hexagonal = np.column_stack([cols * 100 + rows % 2 * 50, rows * 100 * np.sqrt(0.75)])
    square = np.column_stack([cols, rows]) * 200.0
    for points, expected in ((hexagonal, 100), (square, 200)):
        jittered = points + rng.normal(0, expected * 0.04, points.shape)
        assert pitch(points) == pytest.approx(expected)
        assert pitch(jittered) == pytest.approx(expected, rel=0.02)
    assert pitch(square[:3]) is None


def test_what_is_no_table_is_named(tmp_path: Path, image: Path) -> None:
    with pytest.raises(DataError, match=r"none\.h5ad: cannot be read \(no such file\)"):
        read_anndata(tmp_path / "none.h5ad", image, **SIZE)
    with pytest.raises(DataError, match="cannot be read"):
        read_anndata(image, image, **SIZE)
    with pytest.raises(DataError, match="cannot be read"):
        read_anndata(tmp_path, image, **SIZE)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1]
    with pytest.raises(DataError, match="not an AnnData: obs not found"):
        read_anndata(tmp_path / "other.h5", image, **SIZE)
    made = table()
    made.obs_names = ["a"] * 6
    with pytest.warns(PixNetWarning, match="5 rows named like another got a number"):
        assert list(read_anndata(made, image, **SIZE).counts.region_names()) == ["a", "a-1", "a-2", "a-3", "a-4", "a-5"]


def test_indices_beyond_the_matrix_are_refused(tmp_path: Path, image: Path) -> None:
    made = table()
    made.X = sparse.csr_matrix(made.X)
    for part, value in (("indices", 5_000_000), ("indptr", 10_000_000), ("indices", -3)):
        path = tmp_path / "table.h5ad"
        made.write_h5ad(path)
        with h5py.File(path, "a") as file:
            file["X"][part][2] = value
        with pytest.raises(DataError, match=r"table\.h5ad: X cannot be read"):
            read_anndata(path, image, **SIZE)


def test_declared_sizes_are_checked_before_memory_is_taken(tmp_path: Path, image: Path) -> None:
    path = tmp_path / "table.h5ad"
    for place, shape in (("X", (6, 1 << 40)), ("obsm/spatial", (6, 1 << 40)), ("obs/x", (1 << 40,))):
        table().write_h5ad(path)
        with h5py.File(path, "a") as file:
            if place in file:
                del file[place]
            file.create_dataset(place, shape, "f4", chunks=tuple(min(side, 1024) for side in shape))
        with pytest.raises(DataError, match=r"declares \d+ MB, but only 0 MB are stored"):
            read_anndata(path, image, **SIZE)
    assert path.stat().st_size < 1 << 20


def test_a_shape_that_contradicts_the_file_is_refused(tmp_path: Path, image: Path) -> None:
    made = table()
    made.X = sparse.csc_matrix(made.X)
    path = tmp_path / "table.h5ad"
    made.write_h5ad(path)
    with h5py.File(path, "a") as file:
        file["X"].attrs["shape"] = [1 << 40, 5]
    with pytest.raises(DataError, match="X is 1099511627776 x 5, but obs and var have 6 and 5 rows"):
        read_anndata(path, image, **SIZE)


def test_a_truncated_table_is_refused(tmp_path: Path, image: Path) -> None:
    path = tmp_path / "table.h5ad"
    table().write_h5ad(path)
    whole = path.read_bytes()
    for part in (0, 7, 600, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:part])
        with pytest.raises(DataError, match="cannot be read"):
            read_anndata(path, image, **SIZE)
