from __future__ import annotations

import contextlib
import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from scipy import sparse

from pixnet.errors import DataError, PixNetWarning, SlideError
from pixnet.grid import Grid
from pixnet.readers.visium_hd import read_visium_hd
from pixnet.readers.visium_hd.cells import read_visium_hd_cells
from pixnet.readers.visium_hd.lattice import fit_lattice, parse_barcodes, pool_bins
from pixnet.regions import Polygons, Squares
from pixnet.sample import Sample
from pixnet.slide.pixel_size import PixelSize
from pixnet.virtual import VirtualTissue
from pixnet.virtual.write.visium_hd import write_visium_hd


@pytest.fixture(scope="module")
def tissue() -> VirtualTissue:
    return VirtualTissue.generate("breast", 3, 7, 160.0, 130.0, mpp=0.5)


@pytest.fixture(scope="module")
def written(tissue: VirtualTissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `outs` and the image, as Space Ranger and its user leave it; tests only read it."""
    folder = tmp_path_factory.mktemp("hd")
    write_visium_hd(tissue, folder, angle_deg=3.0, seed=1)
    return folder / "breast-3-7-1"


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(written, tmp_path / "own"))


def square(folder: Path, size: int = 8) -> Path:
    return folder / "outs" / "binned_outputs" / f"square_{size:03d}um"


def change_positions(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / "spatial" / "tissue_positions.parquet"
    table = change(pq.read_table(path).to_pandas())
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path)


def change_factors(folder: Path, **values: float | None) -> None:
    path = folder / "spatial" / "scalefactors_json.json"
    factors = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in factors.items() if value is not None}))


def change_barcodes(folder: Path, change: Callable[[Any], Any]) -> None:
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "r+") as file:
        barcodes = change(file["matrix/barcodes"][:])
        del file["matrix/barcodes"]
        file["matrix/barcodes"] = barcodes


def same_counts(one: Sample, other: Sample) -> bool:
    return (one.counts.matrix != other.counts.matrix).nnz == 0


@pytest.mark.parametrize("angle_deg", [0.0, 1.0, -3.0, 92.0, 179.5])
@pytest.mark.parametrize("mirrored", [False, True])
def test_bins_come_back_with_their_counts_in_their_place(
    tissue: VirtualTissue, tmp_path: Path, angle_deg: float, mirrored: bool
) -> None:
    entry = write_visium_hd(tissue, tmp_path, bin_sizes=(4, 8), angle_deg=angle_deg, seed=5, mirrored=mirrored)
    sample = read_visium_hd(tmp_path / entry["path"], bin_um=4)
    regions = sample.regions
    assert isinstance(regions, Squares)
    assert (sample.platform, sample.id, sample.counts.names) == ("visium-hd", entry["id"], None)
    assert sample.slide.mpp == 0.5
    assert sample.slide.mpp_source == "microns_per_pixel"
    assert regions.side_um == pytest.approx(4.0, rel=1e-9)
    assert (regions.angle_deg - angle_deg) % 360 == pytest.approx(0, abs=1e-6) or regions.angle_deg == pytest.approx(
        angle_deg, abs=1e-6
    )
    assert list(sample.genes) == list(tissue.genes)
    # The tissue measured anew through the squares that were read: in the writer's order the draws are the same.
    order = np.lexsort([regions.cols, regions.rows])
    again = tissue.measure(regions.take(order), 5)
    assert (again.counts.matrix != sample.counts.matrix[order]).nnz == 0
    assert sample.depth.sum() > 1000
    stated = pq.read_table(tmp_path / entry["path"] / "binned_outputs/square_004um/spatial/tissue_positions.parquet")
    pixels = np.stack([stated["pxl_col_in_fullres"], stated["pxl_row_in_fullres"]], axis=1)
    np.testing.assert_allclose(regions.centers_um, pixels * 0.5, atol=0.01)
    np.testing.assert_array_equal(sample.counts.obs["array_row"], stated["array_row"])
    np.testing.assert_array_equal(sample.counts.obs["array_col"], stated["array_col"])


def test_every_folder_that_holds_them_gives_the_same_bins(written: Path) -> None:
    first = read_visium_hd(written)
    assert first.counts.notes["bin_um"] == 8
    for path in (written / "outs", written / "outs" / "binned_outputs", square(written)):
        sample = read_visium_hd(str(path))
        assert sample.id == "breast-3-7-1"
        assert same_counts(sample, first)
    assert read_visium_hd(square(written, 16)).counts.notes["bin_um"] == 16
    named = read_visium_hd(written, id="one", donor="someone", mpp=PixelSize(0.5, "manifest"))
    assert (named.id, named.donor, named.slide.mpp_source) == ("one", "someone", "manifest")


@pytest.mark.parametrize("mirrored", [False, True])
def test_larger_bins_are_sums_of_smaller_ones(tissue: VirtualTissue, tmp_path: Path, mirrored: bool) -> None:
    entry = write_visium_hd(tissue, tmp_path, angle_deg=1.0, seed=1, mirrored=mirrored)
    outs = tmp_path / entry["path"]
    fine = outs / "binned_outputs" / "square_002um"
    for size in (8, 16):
        direct, pooled = read_visium_hd(outs, bin_um=size), read_visium_hd(fine, bin_um=size)
        assert same_counts(direct, pooled)
        np.testing.assert_allclose(direct.regions.centers_um, pooled.regions.centers_um, atol=1e-6)
        assert "bins" not in direct.counts.obs
        assert (pooled.counts.obs["bins"] == (size // 2) ** 2).all()
    whole = read_visium_hd(fine)
    assert whole.counts.notes["bin_um"] == 2
    for path in (fine, outs):  # 32 um are made of 16 um where there are such
        large = read_visium_hd(path, bin_um=32)
        assert large.depth.sum() == whole.depth.sum()
        assert large.regions.side_um == pytest.approx(32.0)
    # Every bin lies in the square that it was added to.
    step = large.regions.centers_um[:, None] - whole.regions.centers_um[None]
    turn = math.radians(-large.regions.angle_deg)
    along = step @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    owner = sparse.csr_array((np.abs(along).max(axis=2) < 16).astype(np.float32))
    assert (owner.sum(axis=0) == 1).all()
    np.testing.assert_array_equal((owner @ whole.counts.matrix).toarray(), large.counts.matrix.toarray())


def test_a_square_centred_beyond_the_image_is_left_out(written: Path) -> None:
    with pytest.warns(PixNetWarning, match="centre beyond the image"):
        sample = read_visium_hd(written, bin_um=96)
    assert sample.counts.obs["bins"].max() == 36


def test_a_size_that_cannot_be_made_is_refused(written: Path) -> None:
    with pytest.raises(DataError, match=r"squares of 5 um; it has bins of 2, 8, 16 um"):
        read_visium_hd(written, bin_um=5)
    with pytest.raises(DataError, match=r"squares of 8 um; it has bins of 16 um"):
        read_visium_hd(square(written, 16), bin_um=8)
    for size in (0, -8, math.nan, math.inf):
        with pytest.raises(DataError, match=r"`bin_um` must be a positive"):
            read_visium_hd(written, bin_um=size)
    for size in (1e-300, 1e300):
        with pytest.raises(DataError, match="no bins that make"):
            read_visium_hd(written, bin_um=size)


def test_files_may_have_a_prefix_and_matrices_be_folders(own: Path) -> None:
    before = read_visium_hd(own, bin_um=8)
    folder = square(own)
    for file in [*folder.glob("*.h5"), *(folder / "spatial").iterdir()]:
        file.rename(file.with_name(f"sampleA_{file.name}"))
    folder.rename(folder.with_name(f"sampleA_{folder.name}"))
    assert same_counts(read_visium_hd(own, bin_um=8), before)


def test_only_bins_under_tissue_are_kept(own: Path) -> None:
    folder = square(own)
    whole = read_visium_hd(folder)
    many = len(whole.regions)
    change_positions(folder, lambda table: table.assign(in_tissue=(table.array_row > 1).astype(np.int32)))
    kept = whole.counts.obs["array_row"].to_numpy() > 1
    with pytest.warns(PixNetWarning, match=f"{many - kept.sum()} bins not under tissue are left out"):
        sample = read_visium_hd(folder)
    assert same_counts(sample, whole.take(kept))
    matrix = folder / "filtered_feature_bc_matrix.h5"
    matrix.rename(folder / "raw_feature_bc_matrix.h5")
    for filtered in (None, False):
        raw = read_visium_hd(folder, filtered=filtered)
        assert same_counts(raw, whole.take(kept))
        np.testing.assert_allclose(raw.regions.centers_um, whole.regions.centers_um[kept], atol=1e-6)
    pooled = read_visium_hd(folder, bin_um=24)
    assert pooled.depth.sum() == raw.depth.sum()
    assert pooled.counts.obs["bins"].sum() == kept.sum()
    with pytest.raises(DataError, match=r"filtered_feature_bc_matrix\.h5 not found"):
        read_visium_hd(folder, filtered=True)
    change_positions(folder, lambda table: table.assign(in_tissue=0))
    with pytest.raises(DataError, match=r"none of its \d+ bins is under tissue"):
        read_visium_hd(folder)


def test_bins_on_one_side_only_are_told(own: Path) -> None:
    folder = square(own)
    change_positions(folder, lambda table: table.iloc[5:])
    change_barcodes(folder, lambda found: np.concatenate([found[:-1], [b"s_008um_09999_09999-1"]]))
    with pytest.warns(
        PixNetWarning, match="6 bins without a position and 1 bin under tissue but without counts"
    ) as told:
        read_visium_hd(folder)
    assert sum(warning.category is PixNetWarning for warning in told) == 1, [str(w.message) for w in told]
    change_barcodes(folder, lambda found: np.array([b"s_008um_%05d_09999-1" % i for i in range(len(found))]))
    with pytest.raises(DataError, match="none of its"):
        read_visium_hd(folder)


def test_genes_of_one_name_and_other_features_are_told(own: Path) -> None:
    folder = square(own)
    before = read_visium_hd(folder)
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "r+") as file:
        features = file["matrix/features"]
        names, kinds = features["name"][:], features["feature_type"][:].astype("S20")
        names[1], kinds[2] = names[0], b"Antibody Capture"
        del features["name"], features["feature_type"]
        features["name"], features["feature_type"] = names, kinds
    with pytest.warns(PixNetWarning, match="1 features of the kind 'Antibody Capture'.*1 column added"):
        sample = read_visium_hd(folder)
    assert len(sample.genes) == len(before.genes) - 2
    dense = before.counts.matrix.toarray()
    np.testing.assert_array_equal(sample.counts.matrix[:, [0]].toarray()[:, 0], dense[:, :2].sum(axis=1))


GOOD_BARCODES = [b"s_008um_00001_00002-1", b"s_008um_00001_00003-1", b"s_008um_00005_00004-1"]


@pytest.mark.parametrize(
    "odd",
    [b"s_008um_00001_0x002-1", b"s_002um_00001_00007-1", b"s_008um_00001-00007-1", b"s_008um_00001_00007_1", b"",
     b"s_008um_99999_00002-1", b"AAACCTGA-1"],
)  # fmt: skip
def test_odd_barcodes_are_left_out_unless_they_are_many(odd: bytes) -> None:
    rows, cols, valid = parse_barcodes(Path("x"), np.array([odd, *GOOD_BARCODES]))
    assert valid.tolist() == [False, True, True, True]
    assert (rows[1:].tolist(), cols[1:].tolist()) == ([1, 1, 5], [2, 3, 4])
    with pytest.raises(DataError, match=r"has the barcode .*unlike"):
        parse_barcodes(Path("x"), np.array([*GOOD_BARCODES[:2], odd, odd + b"1", odd + b"2"]))


def test_barcodes_of_one_bin_are_left_out() -> None:
    _, _, valid = parse_barcodes(Path("x"), np.array([*GOOD_BARCODES, GOOD_BARCODES[0], b"s_008um_00006_00004-1"]))
    assert valid.tolist() == [False, True, True, False, True]
    with pytest.raises(DataError, match="has the barcode 'AAACCTGA-1'"):
        parse_barcodes(Path("x"), np.array([b"AAACCTGA-1", b"AAACCTGC-1"]))


def test_barcodes_are_read_as_numbers() -> None:
    rng = np.random.default_rng(0)
    place = rng.permutation(3000 * 3000)[:10_000]
    rows, cols = np.divmod(place, 3000)
    barcodes = np.array([f"s_002um_{r:05d}_{c:05d}-1" for r, c in zip(rows, cols, strict=True)], dtype="S")
    found = parse_barcodes(Path("x"), barcodes)
    np.testing.assert_array_equal(found[0], rows)
    np.testing.assert_array_equal(found[1], cols)
    assert found[0].dtype == np.int32
    assert [len(part) for part in parse_barcodes(Path("x"), barcodes[:0])] == [0, 0, 0]


@pytest.mark.parametrize("angle_deg", [0.0, 0.7, -89.0, 135.0, 180.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_lattice_is_found_however_it_lies(angle_deg: float, mirrored: bool) -> None:
    rng = np.random.default_rng(1)
    row, col = rng.integers(0, 3350, (2, 500))
    squares = Squares(12_000.0, 9_000.0, 7.3, row, -col - 1 if mirrored else col, angle_deg)
    found = fit_lattice(np.column_stack([row, col, squares.centers_um]).astype(float))
    assert not isinstance(found, str)
    assert found.mirrored == mirrored
    again = Squares(found.x_px, found.y_px, found.side_px, squares.rows, squares.cols, found.angle_deg)
    np.testing.assert_allclose(again.bounds_um, squares.bounds_um, atol=1e-6)
    assert found.most_off_px < 1e-6


def test_pooling_sums_exactly() -> None:
    rng = np.random.default_rng(2)
    place = rng.permutation(50 * 60)[:1000]
    rows, cols = (part.astype(np.int32) for part in np.divmod(place, 60))
    counts = sparse.random_array((1000, 30), density=0.2, rng=rng, format="csr", data_sampler=None)
    matrix = sparse.csr_matrix(counts * 100).astype(np.int32).astype(np.float32)
    kept = rng.random(1000) < 0.7
    pooled, large_rows, large_cols, bins = pool_bins(matrix, rows, cols, 7, kept)
    assert len(set(zip(large_rows.tolist(), large_cols.tolist(), strict=True))) == len(large_rows)
    for row, col, values, many in zip(large_rows, large_cols, pooled.toarray(), bins, strict=True):
        own = kept & (rows // 7 == row) & (cols // 7 == col)
        assert own.sum() == many
        np.testing.assert_array_equal(values, matrix[own].sum(axis=0).A1)
    assert pooled.has_sorted_indices
    assert bins.sum() == kept.sum()


def test_positions_that_follow_no_lattice_are_refused(own: Path) -> None:
    folder = square(own)
    whole = pq.read_table(folder / "spatial" / "tissue_positions.parquet").to_pandas()
    pixels = ["pxl_row_in_fullres", "pxl_col_in_fullres"]
    for change, match in (
        (lambda t: t.assign(pxl_row_in_fullres=t.pxl_row_in_fullres.to_numpy()[::-1] ** 2), "do not follow"),
        (lambda t: t.assign(pxl_col_in_fullres=2 * t.pxl_col_in_fullres), "do not follow"),
        (lambda t: t.assign(**dict.fromkeys(pixels, 5.0)), "do not follow"),
        (lambda t: t.assign(pxl_row_in_fullres=np.nan), "missing or out of range"),
        (lambda t: t.assign(pxl_row_in_fullres=1e300), "missing or out of range"),
        (lambda t: t.assign(array_row=-1), "missing or out of range"),
        (lambda t: t.assign(array_row=t.array_row + 0.5), "missing or out of range"),
        (lambda t: t.assign(array_row=0), "repeat the place"),
        (lambda t: t[t.array_row == 3], "are on one line"),
        (lambda t: t.drop(columns="array_col"), "has no column 'array_col'"),
        (lambda t: t.assign(array_col="far"), "missing or out of range"),
        (lambda t: t.iloc[:0], r"none of its \d+ bins is under tissue"),
    ):
        change_positions(folder, lambda _, change=change: change(whole))
        with pytest.raises(DataError, match=match):
            read_visium_hd(folder)


def stated_um(folder: Path, sample: Sample) -> Any:
    """Where the positions say that a sample's bins are."""
    table = pq.read_table(folder / "spatial" / "tissue_positions.parquet").to_pandas()
    assert sample.counts.obs is not None
    places = sample.counts.obs[["array_row", "array_col"]].itertuples(index=False, name=None)
    table = table.set_index(["array_row", "array_col"]).loc[list(places)]
    return table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy() * sample.slide.mpp


def test_perspective_is_followed(written: Path, own: Path) -> None:
    def seen(table: Any) -> Any:
        x, y = table.pxl_col_in_fullres, table.pxl_row_in_fullres
        depth = 1 + 8e-5 * x - 3e-5 * y
        return table.assign(pxl_row_in_fullres=y / depth, pxl_col_in_fullres=x / depth)

    for size in (2, 16):
        change_positions(square(own, size), seen)
    fine = square(own, 2)
    sample, flat = read_visium_hd(fine), read_visium_hd(square(written, 2))
    assert sample.regions.perspective is not None
    assert flat.regions.perspective is None
    assert np.abs(flat.regions.centers_um - sample.regions.centers_um).max() > 1
    np.testing.assert_allclose(sample.regions.centers_um, stated_um(fine, sample), atol=1e-6)
    assert sample.counts.notes["lattice_most_off_um"] < 1e-6
    # A pooled square is what its bins cover.
    pooled, direct = read_visium_hd(fine, bin_um=16), read_visium_hd(square(own, 16))
    assert same_counts(pooled, direct)
    np.testing.assert_allclose(pooled.regions.centers_um, direct.regions.centers_um, atol=1e-6)
    grid = Grid(0.0, 0.0, 10.0, 13, 16)
    bins, squares = (each.regions.coverage(grid).sum(axis=0) for each in (sample, pooled))
    np.testing.assert_allclose(bins, squares, atol=1e-9)


def test_positions_beside_the_lattice_are_told(own: Path) -> None:
    def waved(table: Any, um: float) -> Any:
        return table.assign(pxl_col_in_fullres=table.pxl_col_in_fullres + 2 * um * np.sin(table.array_row / 3))

    folder = square(own, 2)
    whole = pq.read_table(folder / "spatial" / "tissue_positions.parquet").to_pandas()
    change_positions(folder, lambda _: waved(whole, 0.5))
    sample = read_visium_hd(folder)
    assert sample.regions.perspective is None
    assert 0.4 < sample.counts.notes["lattice_most_off_um"] < 0.7
    assert 0 < sample.counts.notes["lattice_mean_off_um"] < sample.counts.notes["lattice_most_off_um"]
    change_positions(folder, lambda _: waved(whole, 1.5))
    with pytest.warns(PixNetWarning, match=r"are up to \d\.\d um .* away from the lattice that fits them best"):
        read_visium_hd(folder)


def test_a_pixel_size_that_the_bins_contradict_is_refused(own: Path) -> None:
    folder = square(own)
    with pytest.raises(DataError, match=r"state 0.5 um per pixel, but 1 was given \(argument\)"):
        read_visium_hd(folder, mpp=1.0)
    assert read_visium_hd(folder, mpp=0.51).regions.side_um == pytest.approx(8.16)
    change_factors(folder, microns_per_pixel=0.25)
    with pytest.raises(DataError, match=r"pitch of the bins means 0.5 um .* 0.25 was given \(microns_per_pixel\)"):
        read_visium_hd(folder)
    change_factors(folder, microns_per_pixel=None)
    sample = read_visium_hd(folder)
    assert sample.slide.mpp == pytest.approx(0.5)
    assert sample.slide.mpp_source == "bin pitch"
    for mpp in (-1.0, math.nan, math.inf):
        with pytest.raises(SlideError, match="must be a positive number of um per pixel"):
            read_visium_hd(folder, mpp=mpp)
    change_factors(folder, bin_size_um=16.0)
    with pytest.raises(DataError, match="bins are 16 um wide, but the folder is called square_008um"):
        read_visium_hd(folder)


def test_the_image_is_found_or_asked_for(own: Path, tmp_path: Path) -> None:
    image = next(own.glob("*.tif"))
    moved = image.rename(tmp_path / "slide.tif")
    for path in (own, own / "outs", square(own)):
        with pytest.raises(DataError, match=r"full-resolution image not found.*`image`"):
            read_visium_hd(path)
        assert read_visium_hd(path, image=moved).slide.path == moved
    with pytest.raises(DataError, match="not a smaller copy"):
        read_visium_hd(own, image=square(own) / "spatial" / "tissue_hires_image.png")


def test_what_is_missing_or_damaged_is_named(own: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "square_008um").mkdir(parents=True)
    for path, match in (
        (tmp_path / "nowhere", "is not a folder"),
        (tmp_path / "empty", "folder square_XXXum .* not found"),
    ):
        with pytest.raises(DataError, match=match):
            read_visium_hd(path)
    positions = square(own) / "spatial" / "tissue_positions.parquet"
    content = positions.read_bytes()
    for part in (content[:-50], content[: len(content) // 2], b"", b"PAR1" + bytes(100) + b"PAR1"):
        positions.write_bytes(part)
        with pytest.raises(DataError, match=r"tissue_positions\.parquet"):
            read_visium_hd(own)
    positions.unlink()
    with pytest.raises(DataError, match=r"tissue_positions\.parquet not found"):
        read_visium_hd(own)
    positions.write_bytes(content)
    (square(own) / "spatial" / "scalefactors_json.json").unlink()
    with pytest.raises(DataError, match=r"scalefactors_json\.json not found"):
        read_visium_hd(own)
    # A size whose matrix was thrown away is made of the others.
    (square(own) / "filtered_feature_bc_matrix.h5").unlink()
    assert read_visium_hd(own).counts.obs["bins"].min() == 16


def test_flipped_bytes_of_the_positions_end_in_a_data_error(own: Path) -> None:
    rng = np.random.default_rng(0)
    path = square(own) / "spatial" / "tissue_positions.parquet"
    content = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        damaged = content.copy()
        damaged[rng.integers(0, len(content), 3)] ^= rng.integers(1, 256, 3, dtype=np.uint8)
        path.write_bytes(damaged.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PixNetWarning)
            with contextlib.suppress(DataError):
                read_visium_hd(own)


def test_cells_come_back_with_their_outlines(written: Path, tissue: VirtualTissue) -> None:
    cells, bins = read_visium_hd_cells(written), read_visium_hd(written, bin_um=2)
    assert isinstance(cells.regions, Polygons)
    assert cells.platform == "visium-hd"
    assert cells.id == "breast-3-7-1"
    assert cells.counts.names[0].startswith("cellid_0000")
    assert list(cells.regions.names) == list(cells.counts.names)
    numbers = cells.counts.obs["cell_id"].to_numpy()
    # Counts are those of the bins whose centres lie in the outline, and these are bins of the tissue's own cell.
    import shapely

    centres = bins.regions.centers_um
    within = np.array([shapely.contains_xy(shape, centres[:, 0], centres[:, 1]) for shape in cells.regions.shapes])
    np.testing.assert_array_equal(
        (sparse.csr_array(within.astype(np.float32)) @ bins.counts.matrix).toarray(), cells.counts.matrix.toarray()
    )
    np.testing.assert_allclose(cells.regions.areas_um2, 4 * within.sum(axis=1), rtol=1e-6)
    x, y = np.floor(centres.T).astype(int)
    for number, inside in zip(numbers, within, strict=True):
        assert (tissue.labels[y, x][inside] == number).all()
    for path in (written / "outs", written / "outs" / "segmented_outputs"):
        assert same_counts(read_visium_hd_cells(path), cells)


def change_outlines(folder: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    path = folder / "outs" / "segmented_outputs" / "cell_segmentations.geojson"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"features": change(content["features"])}))


def test_cells_on_one_side_only_are_told(own: Path) -> None:
    whole = read_visium_hd_cells(own)

    def change(features: list[Any]) -> list[Any]:
        flat = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [5, 0], [0, 0]]]}
        stranger = features[1] | {"properties": {"cell_id": 999_999}}
        return [features[0] | {"geometry": flat}, *features[2:], features[2], stranger]

    change_outlines(own, change)
    with pytest.warns(
        PixNetWarning,
        match="2 cells with counts but without an outline, 1 cell with an outline but without counts and 2 features",
    ):
        sample = read_visium_hd_cells(own)
    assert same_counts(sample, whole.take(np.arange(2, len(whole.regions))))
    shutil.rmtree(own / "outs" / "segmented_outputs" / "spatial")
    with pytest.warns(PixNetWarning, match="without an outline"):  # the bins' scale factors will do
        assert read_visium_hd_cells(own).slide.mpp_source == "microns_per_pixel"


def test_features_that_are_no_outline_are_left_out(own: Path) -> None:
    whole = read_visium_hd_cells(own)
    odd = [{"geometry": None}, {"properties": {"cell_id": "x"}}, {"geometry": {"type": "Point", "coordinates": [1, 2]}}]
    change_outlines(own, lambda features: [features[0], *({**features[0], **other} for other in odd), *features[1:]])
    with pytest.warns(PixNetWarning, match="3 features that are no outline of a cell, or repeat one are left out"):
        sample = read_visium_hd_cells(own)
    assert same_counts(sample, whole)


def test_odd_rows_of_positions_are_left_out(own: Path) -> None:
    folder = square(own)
    whole = read_visium_hd(folder)
    first, second = whole.counts.obs.iloc[3], whole.counts.obs.iloc[9]

    def change(table: pd.DataFrame) -> pd.DataFrame:
        places = list(zip(table.array_row, table.array_col, strict=True))
        table.loc[places.index((first.array_row, first.array_col)), "pxl_row_in_fullres"] = np.nan
        again = table.iloc[[places.index((second.array_row, second.array_col))]]
        return pd.concat([table, again])

    change_positions(folder, change)
    with pytest.warns(PixNetWarning, match="rows of the positions that are not valid"):
        sample = read_visium_hd(folder)
    assert same_counts(sample, whole.take(np.delete(np.arange(len(whole.regions)), [3, 9])))


def test_damaged_outlines_are_named(own: Path, tmp_path: Path) -> None:
    path = own / "outs" / "segmented_outputs" / "cell_segmentations.geojson"
    content = path.read_text()
    one = json.loads(content)["features"][0]
    for features in ([None], [{}], [one | {"geometry": None}], [one | {"properties": {"cell_id": "1"}}],
                     [one | {"geometry": {"type": "Point", "coordinates": [1, 2]}}],
                     [one | {"geometry": {"type": "Polygon", "coordinates": [["a"]]}}]):  # fmt: skip
        path.write_text(json.dumps({"features": features}))
        with pytest.raises(DataError, match="feature 0 is not the outline"):
            read_visium_hd_cells(own)
    for text, match in (
        (content[:-9], "not GeoJSON"),
        ("[" * 100_000, "not GeoJSON"),
        ("{}", "feature 0 is not the outline"),
        ('{"features": []}', "has no features"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=match):
            read_visium_hd_cells(own)
    path.write_text(content)
    with pytest.raises(DataError, match=r"state 0\.5 um per pixel"):
        read_visium_hd_cells(own, mpp=0.3)
    shutil.rmtree(own / "outs" / "segmented_outputs")
    with pytest.raises(DataError, match="segmented_outputs"):
        read_visium_hd_cells(own)


def test_what_cannot_be_written_is_named(tissue: VirtualTissue, tmp_path: Path) -> None:
    for sizes in ((2, 3), (), (0,), (2.5,)):
        with pytest.raises(DataError, match="bins of"):
            write_visium_hd(tissue, tmp_path, bin_sizes=sizes)
    with pytest.raises(DataError, match="use a larger tissue"):
        write_visium_hd(tissue, tmp_path, bin_sizes=(2, 512))
    assert not list(tmp_path.iterdir())


def test_the_real_files_without_counts(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "fixtures" / "visium-layouts" / "binned_outputs"
    with pytest.raises(DataError, match="full-resolution image not found"):
        read_visium_hd(folder, bin_um=2)
    with pytest.raises(DataError, match="squares of 3 um; it has bins of 2 um"):
        read_visium_hd(folder / "square_002um", bin_um=3)
    factors = json.loads((folder / "square_002um/spatial/scalefactors_json.json").read_text())
    image, tile = tmp_path / "blank.tif", np.full((1024, 1024), 255, np.uint8)
    from PIL import Image

    with Image.open(folder / "square_002um/spatial/tissue_lowres_image.png") as picture:
        width, height = (round(side / factors["tissue_lowres_scalef"]) for side in picture.size)
    tiles = (tile for _ in range(math.ceil(width / 1024) * math.ceil(height / 1024)))
    tifffile.imwrite(
        image,
        tiles,
        shape=(height, width),
        dtype=np.uint8,
        tile=(1024, 1024),
        compression="zlib",
        photometric="minisblack",
    )
    sample = read_visium_hd(folder, bin_um=2, image=image)
    assert sample.counts.shape == (10, 10)
    assert sample.depth.sum() == 0
    assert sample.id == "visium-layouts"
    assert sample.slide.mpp == pytest.approx(0.27382, rel=1e-4)
    assert sample.regions.angle_deg == pytest.approx(-0.866, abs=0.01)
    # The real image was registered with perspective: the nearest lattice of squares would be up to 0.63 um off.
    assert sample.regions.perspective is not None
    assert sample.counts.notes["lattice_most_off_um"] < 1e-6
    np.testing.assert_allclose(sample.regions.centers_um, stated_um(folder / "square_002um", sample), atol=1e-6)
    with h5py.File(folder / "square_002um/filtered_feature_bc_matrix.h5") as file:
        first = file["matrix/barcodes"][0].decode()
    row, col = sample.counts.obs.iloc[0]
    assert first == f"s_002um_{row:05d}_{col:05d}-1"


def test_squares_that_were_unpacked_without_their_folder_are_found(own: Path) -> None:
    right = read_visium_hd(own)
    outs = own / "outs"
    for folder in (outs / "binned_outputs").iterdir():
        folder.rename(outs / folder.name)
    (outs / "binned_outputs").rmdir()
    assert same_counts(read_visium_hd(own), right)
    assert same_counts(read_visium_hd(outs), right)
    for folder in outs.glob("square_*"):
        shutil.rmtree(folder)
    (outs / "binned_outputs.tar.gz").touch()
    with pytest.raises(DataError, match=r"binned_outputs\.tar\.gz: is packed. Unpack it there"):
        read_visium_hd(own)


def test_of_several_files_of_outlines_the_plain_one_is_meant(own: Path) -> None:
    right = read_visium_hd_cells(own)
    folder = own / "outs" / "segmented_outputs"
    (folder / "cell_segmentations.geojson").rename(folder / "GSM1_cell_segmentations.geojson")
    (folder / "GSM1_graphclust_annotated_cell_segmentations.geojson").write_text("{}")
    assert same_counts(read_visium_hd_cells(own), right)
