from __future__ import annotations

import gzip
import json
import shutil
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy import io, sparse

import pixnet
from pixnet.errors import DataError, PixNetError, PixNetWarning
from pixnet.readers import recognise
from pixnet.readers.formats.tenx_spatial import find_image
from pixnet.readers.manifest import read_manifest
from pixnet.readers.visium import read_visium
from pixnet.regions import Disks, Squares
from pixnet.sample import Sample
from pixnet.slide.pixel_size import PixelSize
from pixnet.virtual import VirtualTissue, spots
from pixnet.virtual.write.visium import write_visium


@pytest.fixture(scope="module")
def tissue() -> VirtualTissue:
    return VirtualTissue.generate("breast", 3, 7, 900.0, 700.0, mpp=0.8)


@pytest.fixture(scope="module")
def virtual(tissue: VirtualTissue) -> Sample:
    return tissue.measure(spots(900, 700, 55, 100, hexagonal=True), 1)


@pytest.fixture(scope="module")
def written(virtual: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("visium")
    write_visium(virtual, folder)
    return folder / virtual.id


@pytest.fixture
def section(written: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(written, tmp_path / "section"))


def rewritten(section: Path, **columns: Any) -> pd.DataFrame:
    """Change columns of the positions; 0 is the barcode, 5 the pixel column."""
    path = section / "outs/spatial/tissue_positions_list.csv"
    table = pd.read_csv(path, header=None)
    for name, values in columns.items():
        table[int(name[1:])] = values
    table.to_csv(path, header=False, index=False)
    return table


def by_place(sample: Sample) -> np.ndarray[Any, Any]:
    return np.lexsort(np.rint(sample.regions.centers_um / 10).T)


@pytest.mark.parametrize("version", [1, 2])
def test_round_trip(virtual: Sample, tmp_path: Path, version: int) -> None:
    entry = write_visium(virtual, tmp_path, version=version)
    outs = tmp_path / str(entry["path"])
    positions = "tissue_positions_list.csv" if version == 1 else "tissue_positions.csv"
    assert sorted(path.name for path in (outs / "spatial").iterdir()) == [
        "scalefactors_json.json",
        "tissue_hires_image.png",
        "tissue_lowres_image.png",
        positions,
    ]
    assert (outs / "spatial" / positions).read_text().startswith("barcode") == (version == 2)
    again = read_visium(outs, donor=str(entry["donor"]))
    assert (again.id, again.donor, again.platform) == (virtual.id, virtual.donor, "visium")
    assert (again.slide.path, again.slide.mpp_source) == (tmp_path / str(entry["image"]), "spot pitch")
    assert again.slide.mpp == pytest.approx(virtual.slide.mpp, rel=1e-3)
    assert list(again.genes) == list(virtual.genes)
    order, back = by_place(virtual), by_place(again)
    pixels = again.regions.centers_um[back] / again.slide.mpp
    assert np.abs(pixels - virtual.regions.centers_um[order] / virtual.slide.mpp).max() <= 0.5 + 1e-9
    assert (again.counts.matrix[back] != virtual.counts.matrix[order]).nnz == 0
    assert isinstance(again.regions, Disks)
    assert np.allclose(again.regions.diameters_um, 55)
    box = (0, 0, 700, 700)
    assert np.array_equal(
        again.slide.read(*box, again.slide.mpp)[0][:800], virtual.slide.read(*box, virtual.slide.mpp)[0][:800]
    )
    # With the true pixel size instead of the measured one, positions are right to half a pixel in um.
    told = read_visium(outs, mpp=0.8)
    assert told.slide.mpp_source == "argument"
    assert np.abs(told.regions.centers_um[back] - virtual.regions.centers_um[order]).max() <= 0.4 + 1e-9


def test_manifest(virtual: Sample, tmp_path: Path) -> None:
    entry = write_visium(virtual, tmp_path, version=2)
    lines = [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
    (tmp_path / "samples.toml").write_text("\n".join(["[[sample]]", *lines]))
    (sample,) = read_manifest(tmp_path / "samples.toml")
    assert (sample.id, sample.donor, sample.depth.sum()) == (virtual.id, virtual.donor, virtual.depth.sum())


def test_a_part_of_an_array(virtual: Sample, tmp_path: Path) -> None:
    # Spots that are missing are in the positions, not in tissue; the first row may begin with an odd one.
    part = virtual.take(np.r_[5:9, 10:16, 20, 22])
    outs = tmp_path / str(write_visium(part, tmp_path)["path"])
    table = pd.read_csv(outs / "spatial/tissue_positions_list.csv", header=None)
    assert table[1].sum() == len(part.counts) < len(table)
    assert ((table[2] + table[3]) % 2 == 0).all()
    assert table[0].str.fullmatch("[ACGT]{16}-1").all()
    again = read_visium(outs)
    assert again.depth[by_place(again)].tolist() == part.depth[by_place(part)].tolist()
    assert again.counts.obs is not None
    assert (again.counts.obs["in_tissue"] == 1).all()


def test_the_pyramid(written: Path, virtual: Sample) -> None:
    with tifffile.TiffFile(written / f"{virtual.id}.tif") as tif:
        levels = [level.shape for level in tif.series[0].levels]
        assert all(level.keyframe.is_tiled for level in tif.series[0].levels)
    assert levels == [(875, 1125, 3), (438, 563, 3), (219, 282, 3)]


def test_samples_that_are_no_visium(tissue: VirtualTissue, virtual: Sample, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not disks of 55"):
        write_visium(tissue.measure(Squares.tiling(0, 0, 550, 550, 55.0), 1), tmp_path)
    with pytest.raises(DataError, match="hexagonal array"):
        write_visium(tissue.measure(spots(900, 700, 55, 100), 1), tmp_path)
    with pytest.raises(DataError, match="choose 1 or 2"):
        write_visium(virtual, tmp_path, version=3)
    assert not list(tmp_path.iterdir())


def test_the_parent_and_a_flat_folder_with_prefixes(section: Path, virtual: Sample) -> None:
    assert read_visium(section).id == "section"
    flat = section / "flat"
    flat.mkdir()
    for path in [*(section / "outs/spatial").iterdir(), section / "outs/filtered_feature_bc_matrix.h5"]:
        shutil.copy(path, flat / f"GSM1_{path.name}")
    with pytest.raises(DataError, match="flat: full-resolution image not found"):
        read_visium(flat)
    sample = read_visium(flat, image=section / f"{virtual.id}.tif", id="mine")
    assert sample.id == "mine"
    assert sample.depth.sum() == virtual.depth.sum()


@pytest.mark.parametrize("kind", [int, float])
def test_positions_as_parquet(section: Path, virtual: Sample, kind: type) -> None:
    path = section / "outs/spatial/tissue_positions_list.csv"
    names = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
    table = pd.read_csv(path, header=None, names=names)
    table = table.astype({"pxl_row_in_fullres": kind, "pxl_col_in_fullres": kind})
    table.to_parquet(path.with_name("tissue_positions.parquet"))
    path.unlink()
    assert read_visium(section).depth.sum() == virtual.depth.sum()


def as_folder(h5: Path, folder: Path, prefix: str = "") -> None:
    """Write a matrix as its three text files."""
    folder.mkdir(exist_ok=True)
    with h5py.File(h5) as file:
        group = file["matrix"]
        matrix = sparse.csc_matrix((group["data"][:], group["indices"][:], group["indptr"][:]), group["shape"][:])
        barcodes, names = group["barcodes"][:].astype(str), group["features/name"][:].astype(str)
    io.mmwrite(folder / f"{prefix}matrix.mtx", matrix)
    (folder / f"{prefix}barcodes.tsv").write_text("\n".join(barcodes) + "\n")
    (folder / f"{prefix}features.tsv").write_text("".join(f"E{n}\t{n}\tGene Expression\n" for n in names))


def test_matrix_folders_and_raw_matrices(section: Path, virtual: Sample) -> None:
    outs = section / "outs"
    h5 = outs / "filtered_feature_bc_matrix.h5"
    as_folder(h5, outs / "filtered_feature_bc_matrix")
    h5.rename(outs / "raw_feature_bc_matrix.h5")
    table = rewritten(section, c1=1)
    table = rewritten(section, c1=(table[3] > 3).astype(int))
    # The filtered matrix counts, whatever the positions say; of the raw one, only spots under tissue.
    assert len(read_visium(section).counts) == len(virtual.counts)
    assert len(read_visium(section, filtered=True).counts) == len(virtual.counts)
    every = read_visium(section, filtered=False)
    assert len(every.counts) == len(virtual.counts)
    assert every.counts.obs is not None
    assert set(every.counts.obs["in_tissue"]) == {0, 1}
    shutil.rmtree(outs / "filtered_feature_bc_matrix")
    under = read_visium(section)
    assert 0 < len(under.counts) < len(virtual.counts)
    assert under.counts.obs is not None
    assert (under.counts.obs["array_col"] > 3).all()
    with pytest.raises(DataError, match=r"outs: filtered_feature_bc_matrix\.h5, or a folder of that name, not found"):
        read_visium(section, filtered=True)
    as_folder(outs / "raw_feature_bc_matrix.h5", outs, prefix="S1_")
    (outs / "raw_feature_bc_matrix.h5").unlink()
    assert len(read_visium(section).counts) == len(under.counts)
    rewritten(section, c1=0)
    with pytest.raises(DataError, match=r"no spot with counts is under tissue.*`filtered=False`"):
        read_visium(section)


def test_spots_on_one_side_only(section: Path, virtual: Sample) -> None:
    table = rewritten(section, c1=1)
    table.iloc[3:].to_csv(section / "outs/spatial/tissue_positions_list.csv", header=False, index=False)
    with pytest.warns(
        PixNetWarning, match="sample 'section': 3 spots with counts but without a position .such as .* are left out"
    ):
        assert len(read_visium(section).counts) == len(virtual.counts) - 3
    table[0] = ["T" * 16 + "-1", *table[0].iloc[1:]]
    table.to_csv(section / "outs/spatial/tissue_positions_list.csv", header=False, index=False)
    with pytest.warns(PixNetWarning, match="1 spot with counts .* and 1 spot under tissue but without counts"):
        read_visium(section)
    rewritten(section, c0=table[0].str.removesuffix("-1"))
    with pytest.warns(PixNetWarning, match="1 spot with counts"):  # the number of the library is not compared
        assert len(read_visium(section).counts) == len(virtual.counts) - 1
    rewritten(section, c0=["T" * 15 + f"{row}" for row in range(len(table))])
    with pytest.raises(DataError, match=r"none of its \d+ barcodes is among .* \(such as [ACGT]+-1 and T+0\)"):
        read_visium(section)


def test_merged_genes_and_other_features_are_told(section: Path, virtual: Sample) -> None:
    with h5py.File(section / "outs/filtered_feature_bc_matrix.h5", "r+") as file:
        names, kinds = file["matrix/features/name"][:], file["matrix/features/feature_type"][:].astype("S20")
        names[1], kinds[2] = names[0], b"Antibody Capture"
        del file["matrix/features/feature_type"]
        file["matrix/features/name"][:], file["matrix/features/feature_type"] = names, kinds
    with pytest.warns(PixNetWarning, match=r"1 column added.*; features that .* left out \(1 Antibody Capture\)"):
        sample = read_visium(section)
    assert len(sample.genes) == len(virtual.genes) - 2
    whole = virtual.counts.matrix.toarray()[by_place(virtual)]
    assert np.array_equal(sample.counts.matrix.toarray()[by_place(sample)][:, 0], whole[:, 0] + whole[:, 1])


def test_pixel_sizes_that_contradict_the_pitch(section: Path) -> None:
    with pytest.raises(DataError, match=r"pitch of 100 um means 0\.\d+ um per pixel, but 0\.5 was given \(manifest\)"):
        read_visium(section, mpp=PixelSize(0.5, "manifest"))
    assert read_visium(section, mpp=0.82).slide.mpp == 0.82
    path = section / "outs/spatial/scalefactors_json.json"
    path.write_text(path.read_text().replace('"spot_diameter_fullres": 8', '"spot_diameter_fullres": 1'))
    with pytest.warns(PixNetWarning, match=r"are 125\.\d pixels apart but 11\.2 pixels wide"):
        read_visium(section)


def test_one_spot_off_its_place_changes_no_pixel_size(section: Path) -> None:
    table = rewritten(section)
    table.loc[10, 5] -= 200
    rewritten(section, c5=table[5])
    assert read_visium(section).slide.mpp == pytest.approx(0.8, rel=2e-3)


def test_positions_that_give_no_pitch(section: Path) -> None:
    table = rewritten(section)
    rewritten(section, c5=np.random.default_rng(0).permutation(table[5]))
    with pytest.raises(DataError, match=r"tissue_positions_list\.csv: .* gives no pixel size"):
        read_visium(section)
    rewritten(section, c5=table[5] * 1.2)
    with pytest.raises(DataError, match="pixels apart along x and"):
        read_visium(section)
    table[table[2] == 1].to_csv(section / "outs/spatial/tissue_positions_list.csv", header=False, index=False)
    with pytest.warns(PixNetWarning, match=r"on one line, so the pixel size is from the spot diameter"):
        sample = read_visium(section)
    assert (sample.slide.mpp, sample.slide.mpp_source) == (pytest.approx(0.8), "spot diameter")
    with pytest.raises(DataError, match=r"81\.25 pixels wide .* mean 0\.6769 to 0\.8 um per pixel, but 0\.5 was given"):
        read_visium(section, mpp=0.5)
    (section / "outs/spatial/scalefactors_json.json").unlink()
    with pytest.warns(PixNetWarning, match="but without a position"):
        assert read_visium(section).slide.mpp_source == "TIFF resolution"


def test_the_image_must_be_the_full_resolution_one(section: Path, virtual: Sample) -> None:
    spatial = section / "outs/spatial"
    with pytest.raises(DataError, match=r"600 x 467 pixels, but the positions are pixels of .* 1125 x 875.*`image`"):
        read_visium(section, image=spatial / "tissue_lowres_image.png")
    (section / f"{virtual.id}.tif").unlink()
    with pytest.raises(DataError, match=r"outs: full-resolution image not found.*tissue_hires_image.*`image`"):
        read_visium(section)
    Image.new("RGB", (700, 875)).save(section / "cropped.png")
    with pytest.raises(DataError, match="lie outside the slide"):
        read_visium(section, image=section / "cropped.png")


def test_folders_that_are_no_visium(section: Path) -> None:
    outs = section / "outs"
    with pytest.raises(DataError, match="does not exist"):
        read_visium(section / "none")
    with pytest.raises(DataError, match="is a file"):
        read_visium(outs / "filtered_feature_bc_matrix.h5")
    (outs / "spatial").rename(outs / "elsewhere")
    with pytest.raises(DataError, match=r"tissue_positions_list\.csv not found"):
        read_visium(section)
    (outs / "elsewhere").rename(outs / "spatial")
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    with pytest.raises(DataError, match=r"filtered_feature_bc_matrix\.h5 or raw_feature_bc_matrix\.h5, or a folder"):
        read_visium(section)
    (outs / "binned_outputs").mkdir()
    with pytest.raises(DataError, match="is Visium HD"):
        read_visium(section)


def test_a_square_of_visium_hd_is_refused(section: Path) -> None:
    path = section / "outs/spatial/scalefactors_json.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bin_size_um": 8.0}))
    with pytest.raises(DataError, match="is Visium HD, not Visium"):
        read_visium(section)


def test_damaged_files_end_in_our_error(section: Path) -> None:
    rng = np.random.default_rng(1)
    for name in (
        "filtered_feature_bc_matrix.h5",
        "spatial/tissue_positions_list.csv",
        "spatial/scalefactors_json.json",
    ):
        path = section / "outs" / name
        good = path.read_bytes()
        for _ in range(25):
            data = bytearray(good)
            for place in rng.integers(0, len(data), 6):
                data[place] = rng.integers(256)
            path.write_bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.3 else data)
            with warnings.catch_warnings(), suppress(PixNetError):
                warnings.simplefilter("ignore", PixNetWarning)
                read_visium(section)
        path.write_bytes(good)


def blank(path: Path, width: int, height: int) -> Path:
    """Write a tiled TIFF whose tiles are all left out, so that it takes no space."""
    tiles = -(-width // 4096) * -(-height // 4096)
    tifffile.imwrite(
        path,
        iter([b""] * tiles),
        shape=(height, width, 3),
        dtype=np.uint8,
        tile=(4096, 4096),
        photometric="rgb",
        compression="zlib",
    )
    return path


@pytest.mark.parametrize(
    ("folder", "size", "shape", "said"),
    [
        ("visium-v1", (13332, 13332), (100, 100), r"4135 spots under tissue but without counts"),
        ("visium-layouts/10xVisium/section1", (11286, 11757), (22, 49), None),
        ("visium-layouts/10xVisium/section2", (11286, 11757), (22, 49), "1 spot with counts but without a position"),
    ],
)
def test_real_folders(
    shared: Path, tmp_path: Path, folder: str, size: tuple[int, int], shape: tuple[int, int], said: str | None
) -> None:
    path = shared / "data/fixtures" / folder
    with pytest.raises(DataError, match="full-resolution image not found"):
        read_visium(path)
    image = blank(tmp_path / "he.tif", *size)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PixNetWarning)
        sample = read_visium(path, image=image)
    found = [str(w.message) for w in caught if issubclass(w.category, PixNetWarning)]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
    assert sample.counts.shape == shape
    assert sample.slide.mpp == pytest.approx(0.725, abs=0.003)
    assert sample.depth.sum() > 0
    if (path / "outs").is_dir():
        with h5py.File(path / "outs/raw_feature_bc_matrix.h5") as file:
            genes = file["matrix/features/name"][:].astype(str).tolist()
        assert sample.genes.tolist() == genes


def test_a_flat_folder_behind_a_prefix_as_geo_has_it(section: Path, tmp_path: Path) -> None:
    right = read_visium(section)
    flat = tmp_path / "flat"
    flat.mkdir()
    outs = section / "outs"
    shutil.copy(outs / "filtered_feature_bc_matrix.h5", flat / "GSM1_S1_filtered_feature_bc_matrix.h5")
    for path in (outs / "spatial").iterdir():
        (flat / f"GSM1_S1_{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    image = find_image([outs, outs / "spatial", section])
    assert image is not None
    shutil.copy(image, flat / f"GSM1_S1_image{image.suffix}")
    assert recognise(flat)[0] == "visium"
    read = pixnet.read(flat)
    assert read.counts.region_names().tolist() == right.counts.region_names().tolist()
    assert (read.counts.matrix != right.counts.matrix).nnz == 0
    np.testing.assert_allclose(read.regions.centers_um, right.regions.centers_um)
    (flat / "GSM1_S1_tissue_positions_list.csv.gz").rename(flat / "GSM2_S2_tissue_positions_list.csv.gz")
    with pytest.raises(DataError, match="prefixes of different samples"):
        read_visium(flat)


def test_odd_lines_of_the_positions_are_left_out(section: Path) -> None:
    right = read_visium(section)
    path = section / "outs/spatial/tissue_positions_list.csv"
    lines = path.read_text().splitlines()
    name = right.counts.region_names()[0]
    row = next(row for row, line in enumerate(lines) if line.startswith(name))
    lines[row] = ",".join([*lines[row].split(",")[:4], "NA", "NA"])
    path.write_text("\n".join(lines))
    with pytest.warns(PixNetWarning, match=f"1 line of the positions that are not valid .'{name}'."):
        read = read_visium(section)
    assert read.counts.region_names().tolist() == right.counts.region_names().tolist()[1:]
