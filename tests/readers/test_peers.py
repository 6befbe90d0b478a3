"""The readers against those of the packages that most people use, on the same folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import shapely
import zarr

from pixnet.readers.formats.tenx_matrix import read_tenx_matrix
from pixnet.readers.formats.tenx_spatial import read_positions
from pixnet.readers.visium import read_visium
from pixnet.readers.visium_hd import read_visium_hd
from pixnet.readers.visium_hd.cells import read_visium_hd_cells
from pixnet.readers.xenium import read_xenium
from pixnet.regions import Polygons
from pixnet.sample import Sample
from pixnet.virtual import VirtualTissue, spots
from pixnet.virtual.write.visium import write_visium
from pixnet.virtual.write.visium_hd import write_visium_hd
from pixnet.virtual.write.xenium import write_xenium

pytestmark = pytest.mark.filterwarnings("ignore", "error::pixnet.errors.PixNetWarning")


@pytest.fixture(scope="module")
def scanpy() -> Any:
    return pytest.importorskip("scanpy")


@pytest.fixture(scope="module")
def spatialdata_io() -> Any:
    return pytest.importorskip("spatialdata_io")


@pytest.fixture(scope="module")
def tissue() -> VirtualTissue:
    return VirtualTissue.generate("breast", 3, 7, 160.0, 130.0, mpp=0.5)


@pytest.fixture(scope="module", params=[1, 2])
def visium(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = VirtualTissue.generate("breast", 3, 7, 600.0, 500.0, mpp=0.8)
    sample = drawn.measure(spots(600, 500, 55, 100, hexagonal=True), 1)
    folder = tmp_path_factory.mktemp("visium")
    write_visium(sample, folder, request.param)
    return folder / sample.id


@pytest.fixture(scope="module")
def visium_hd(tissue: VirtualTissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hd")
    write_visium_hd(tissue, folder, angle_deg=3.0, seed=1)
    outs = folder / "breast-3-7-1" / "outs"
    # The peer insists on this file; all that it needs of it is its format.
    with h5py.File(outs / "feature_slice.h5", "w") as file:
        file.attrs["metadata_json"] = json.dumps({"hd_layout_json": json.dumps({"file_format": "1.0"})})
    return outs.parent


@pytest.fixture(scope="module")
def xenium(tissue: VirtualTissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xenium") / "run"
    write_xenium(tissue, folder, 5)
    # The peer asks for the version, and for a store of masks that versions before 1.3 say nothing in.
    path = folder / "experiment.xenium"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"analysis_sw_version": "xenium-1.0.2"}))
    with zarr.storage.ZipStore(folder / "cells.zarr.zip", mode="w") as store:
        zarr.open_group(store, mode="w")
    return folder


def check_table(sample: Sample, table: Any) -> None:
    """The same counts of the same genes, by symbol and by Ensembl id, in the same order."""
    assert sample.counts.gene_ids is not None
    assert sample.genes.tolist() == table.var_names.tolist()
    assert sample.counts.gene_ids.tolist() == table.var["gene_ids"].tolist()
    assert table.X.sum() > 0
    assert (sample.counts.matrix != table.X).nnz == 0


def pixels(sample: Sample) -> Any:
    return sample.regions.centers_um / sample.slide.mpp


def moved(shapes: Any, matrix: Any) -> Any:
    """Bring shapes through a 3x3 affine matrix."""
    return shapely.transform(np.asarray(shapes), lambda xy: xy @ matrix[:2, :2].T + matrix[:2, 2])


def check_outlines(sample: Sample, outlines_px: Any) -> None:
    """The same outlines, corner by corner up to where they begin."""
    assert isinstance(sample.regions, Polygons)
    for mine, theirs in zip(sample.regions.shapes, outlines_px, strict=True):
        um = shapely.transform(theirs, lambda xy: xy * sample.slide.mpp)
        assert shapely.hausdorff_distance(mine, um) < 1e-3
        assert mine.area == pytest.approx(um.area, rel=1e-4)


def test_visium_against_scanpy(scanpy: Any, visium: Path) -> None:
    table = scanpy.read_visium(visium / "outs")
    sample = read_visium(visium)
    check_table(sample, table)
    assert sample.counts.region_names().tolist() == table.obs_names.tolist()
    np.testing.assert_allclose(pixels(sample), table.obsm["spatial"].astype(float))
    for column in ("in_tissue", "array_row", "array_col"):
        assert sample.counts.obs is not None
        assert sample.counts.obs[column].tolist() == table.obs[column].tolist()


def test_visium_against_spatialdata(spatialdata_io: Any, visium: Path) -> None:
    store = spatialdata_io.visium(visium / "outs", dataset_id="s")
    sample = read_visium(visium)
    check_table(sample, store["table"])
    assert sample.counts.region_names().tolist() == store["table"].obs_names.tolist()
    np.testing.assert_allclose(pixels(sample), shapely.get_coordinates(store["s"].geometry))


@pytest.mark.parametrize("size", [2, 8, 16])
def test_visium_hd_against_spatialdata(spatialdata_io: Any, visium_hd: Path, size: int) -> None:
    store = spatialdata_io.visium_hd(visium_hd / "outs", "s", bin_size=size, load_segmentations_only=False)
    name = f"square_{size:03d}um"
    sample, table = read_visium_hd(visium_hd, bin_um=size), store[name]
    check_table(sample, table)
    assert sample.counts.obs is not None
    for column in ("array_row", "array_col"):
        assert sample.counts.obs[column].tolist() == table.obs[column].tolist()
    theirs = store[f"s_{name}"]
    np.testing.assert_allclose(pixels(sample), shapely.get_coordinates(theirs.centroid), atol=1e-6)
    # Theirs are not turned with the lattice, but as large.
    np.testing.assert_allclose(sample.regions.areas_um2, theirs.area * sample.slide.mpp**2)


def test_segmented_cells_against_spatialdata(spatialdata_io: Any, visium_hd: Path) -> None:
    store = spatialdata_io.visium_hd(visium_hd / "outs", "s", bin_size=16, load_segmentations_only=True)
    sample, table = read_visium_hd_cells(visium_hd), store["cell_segmentations"]
    check_table(sample, table)
    assert sample.counts.region_names().tolist() == table.obs_names.tolist()
    check_outlines(sample, store["s_cell_segmentations"].loc[table.obs_names].geometry)


def test_xenium_against_spatialdata(spatialdata_io: Any, xenium: Path) -> None:
    store = spatialdata_io.xenium(
        xenium, cells_labels=False, nucleus_labels=False, morphology_mip=False, morphology_focus=False
    )
    from spatialdata.transformations import get_transformation

    ways = [
        get_transformation(element).to_affine_matrix(("x", "y"), ("x", "y"))
        for element in (store["he_image"], store["cell_boundaries"], store["transcripts"])
    ]
    to_image, place = (np.linalg.solve(ways[0], way) for way in ways[1:])

    cells, nuclei = read_xenium(xenium), read_xenium(xenium, regions="nuclei")
    check_table(cells, store["table"][list(cells.counts.region_names())])
    for sample, name in ((cells, "cell_boundaries"), (nuclei, "nucleus_boundaries")):
        # Their outlines go by number.
        number = pd.read_parquet(xenium / f"{name}.parquet").groupby("cell_id")["label_id"].first()
        theirs = store[name].loc[number[sample.counts.region_names()]].geometry
        check_outlines(sample, moved(theirs, to_image))

    squares = read_xenium(xenium, regions=20.0)
    points = store["transcripts"].compute()
    points = points[(points["qv"] >= 20) & points["feature_name"].isin(squares.genes)]
    um = (points[["x", "y"]].to_numpy() @ place[:2, :2].T + place[:2, 2]) * squares.slide.mpp
    corners = np.rint(squares.regions.bounds_um[:, :2] / 20).astype(int)
    row_of = {(x, y): row for row, (x, y) in enumerate(corners.tolist())}
    expected = np.zeros(squares.counts.shape)
    rows = [row_of.get((x, y), -1) for x, y in np.floor(um / 20).astype(int).tolist()]
    kept = np.array(rows) >= 0
    np.add.at(expected, (np.array(rows)[kept], squares.genes.get_indexer(points["feature_name"])[kept]), 1)
    np.testing.assert_array_equal(squares.counts.matrix.toarray(), expected)


def test_real_files_against_scanpy(scanpy: Any, shared: Path) -> None:
    fixtures = shared / "data/fixtures"
    paths = [path for name in ("visium-v1", "visium-layouts") for path in sorted((fixtures / name).rglob("*matrix.h5"))]
    assert len(paths) > 3
    for path in paths:
        mine, theirs = read_tenx_matrix(path), scanpy.read_10x_h5(path)
        assert [barcode.decode() for barcode in mine.barcodes] == theirs.obs_names.tolist()
        assert list(mine.names) == theirs.var_names.tolist()
        assert list(mine.ids) == theirs.var["gene_ids"].tolist()
        assert (mine.matrix != theirs.X).nnz == 0
    table = scanpy.read_visium(fixtures / "visium-v1")
    places, odd = read_positions(fixtures / "visium-v1/spatial/tissue_positions_list.csv")
    assert not odd
    places = places.set_index("barcode")
    places = places.loc[table.obs_names]
    assert places[["in_tissue", "array_row", "array_col"]].equals(
        table.obs[["in_tissue", "array_row", "array_col"]].astype(np.int32)
    )
    np.testing.assert_array_equal(places.iloc[:, [4, 3]], table.obsm["spatial"].astype(float))
