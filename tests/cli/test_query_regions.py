"""Regions from files of other programs, and errors about them."""

from __future__ import annotations

import dataclasses
import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from pixnet.readers.xenium import read_xenium
from pixnet.virtual import VirtualTissue, spots, write_dataset, write_xenium

from .conftest import HEIGHT_UM, WIDTH_UM


def square(left, top, side):
    right, bottom = left + side, top + side
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def write_geojson(path, *features):
    """Write pairs of a ring and its properties."""
    content = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}
        for ring, properties in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": content}))
    return path


@pytest.fixture(scope="session")
def xenium(tmp_path_factory):
    """Return a Xenium run on the slide of the field."""
    folder = tmp_path_factory.mktemp("xenium") / "run"
    write_xenium(VirtualTissue.generate("breast", 33, 42, WIDTH_UM, HEIGHT_UM), folder)
    return folder


@pytest.fixture
def table(field, run, tmp_path):
    """Return a function that queries the field and opens the table."""

    def query(*arguments):
        out = tmp_path / "table.h5ad"
        done = run("query", field, *arguments, "--out", out, "--overwrite")
        assert done.status == 0, done.err
        return anndata.read_h5ad(out), done

    return query


@pytest.fixture
def refused(field, run, tmp_path):
    """Return a function that checks that a query is refused and writes nothing."""

    def query(*arguments, words):
        run("query", field, *arguments, "--out", tmp_path / "out" / "table.h5ad").assert_refused(*words)
        assert not (tmp_path / "out").exists()

    return query


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz"])
def test_boundaries_of_xenium_are_where_its_reader_puts_them(xenium, table, tmp_path, ending):
    folder = shutil.copytree(xenium, tmp_path / "run")
    path = folder / f"nucleus_boundaries.{ending}"
    if ending != "parquet":
        pd.read_parquet(folder / "nucleus_boundaries.parquet").to_csv(path, index=False)
    queried, done = table("--polygons", path)
    nuclei = read_xenium(xenium, regions="nuclei").regions
    named = queried[list(nuclei.names)]
    np.testing.assert_allclose(named.obs[["x_um", "y_um"]], nuclei.centers_um, atol=1e-3)
    np.testing.assert_allclose(named.obs["area_um2"], nuclei.areas_um2, rtol=1e-4)
    assert not [line for line in done.messages if "alignment" in line]


def test_boundaries_without_an_alignment_are_in_um_of_the_run(xenium, table, refused, tmp_path):
    path = tmp_path / "cell_boundaries.parquet"
    shutil.copy(xenium / "cell_boundaries.parquet", path)
    alignment = xenium / "he_imagealignment.csv"
    refused("--polygons", path, "--alignment", alignment, words=["experiment.xenium", "scale"])
    # Without one they are in um of the run, which is another coordinate system.
    plain, done = table("--polygons", path)
    assert any("*he_imagealignment.csv) found" in line for line in done.messages)
    shutil.copy(xenium / "experiment.xenium", tmp_path)
    right, _ = table("--polygons", path, "--alignment", alignment)
    assert list(plain.obs_names) == list(right.obs_names)
    assert np.abs(plain.obs["x_um"] - right.obs["x_um"]).max() > 1
    (tmp_path / "coarse.csv").write_text("0.5,0,0\n0,0.5,0\n0,0,1\n")
    refused("--polygons", path, "--alignment", tmp_path / "coarse.csv", words=["coarse.csv", "um per pixel", "has 1."])


def test_an_alignment_is_refused_for_other_polygons(refused, tmp_path):
    path = write_geojson(tmp_path / "a.geojson", (square(20, 20, 40), {}))
    refused("--polygons", path, "--alignment", "m.csv", words=["--alignment", "a.geojson"])


def test_cells_of_space_ranger_are_named_by_barcode(table, tmp_path):
    features = [(square(20 * n, 30, 15), {"cell_id": n, "classification": {"name": f"c{n % 2}"}}) for n in (1, 2, 3)]
    path = write_geojson(tmp_path / "cell_segmentations.geojson", *features)
    queried, _ = table("--polygons", path)
    assert list(queried.obs_names) == [f"cellid_{n:09d}-1" for n in (1, 2, 3)]
    assert list(queried.obs["class"]) == ["c1", "c0", "c1"]
    np.testing.assert_allclose(queried.obs["x_um"], [27.5, 47.5, 67.5])
    merged, _ = table("--polygons", path, "--by-class")
    assert list(merged.obs_names) == ["c0", "c1"]
    np.testing.assert_allclose(merged["c1"].X[0], queried.X[0] + queried.X[2], rtol=1e-5)


def test_polygons_without_a_class_are_left_out_of_classes(table, refused, tmp_path):
    plain, named = (square(20, 20, 40), {}), (square(80, 20, 40), {"classification": {"name": "fat"}})
    path = write_geojson(tmp_path / "a.geojson", plain, named)
    queried, done = table("--polygons", path, "--by-class")
    assert list(queried.obs_names) == ["fat"]
    assert done.messages == ["Warning: 1 of 2 polygons have no class and are left out"]
    path = write_geojson(tmp_path / "b.geojson", plain)
    refused("--polygons", path, "--by-class", words=["b.geojson", "none of the 1 polygons has a class"])


def test_a_polygon_that_crosses_itself_is_repaired(table, tmp_path):
    bow = [[20, 20], [60, 60], [60, 20], [20, 60], [20, 20]]
    queried, done = table("--polygons", write_geojson(tmp_path / "a.geojson", (bow, {})))
    assert [line for line in done.messages if "cross or touch themselves" in line]
    np.testing.assert_allclose(queried.obs["area_um2"], [2 * 20 * 40 / 2])


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([], "does not hold a polygon"),
        ([(square(5000, 20, 40), {})], "none of the 1 regions touches the slide"),
        ([([[20, 20], [60, 60], [20, 20], [20, 20]], {})], "no area"),
        ([([[20, 20], [60, float("nan")], [20, 50], [20, 20]], {})], "not finite"),
    ],
)
def test_polygons_that_cannot_be_used(refused, tmp_path, features, words):
    refused("--polygons", write_geojson(tmp_path / "a.geojson", *features), words=[words])


def test_outlines_in_another_unit_than_the_tissue_shows_are_told(run, model, tmp_path):
    tissue = VirtualTissue.generate("breast", 31, 41, 200, 160)
    pixels, _ = tissue.slide.read(0, 0, 200, 160, 0.5)
    canvas = np.full((1000, 1200, 3), 245, np.uint8)
    canvas[500:820, 700:1100] = pixels  # tissue at x = 350 to 550, y = 250 to 410 um
    Image.fromarray(canvas).save(tmp_path / "slide.png")
    field = tmp_path / "field"
    assert run("predict", tmp_path / "slide.png", "--model", model, "--mpp", "0.5", "--out", field).status == 0
    rings = [(square(left, top, 20), {"name": f"{left} {top}"}) for left in (370, 440, 510) for top in (270, 330, 380)]
    path = write_geojson(tmp_path / "um.geojson", *rings)
    out = tmp_path / "a.h5ad"
    done = run("query", field, "--polygons", path, "--out", out)
    assert [
        line for line in done.messages if "read as pixels of 0.5 um, and 0% of the outlines are on tissue; " in line
    ]
    assert [
        line for line in done.messages if "100% would be. If that is what they are, give --polygons-frame um" in line
    ]
    done = run("query", field, "--polygons", path, "--polygons-frame", "um", "--out", out, "--overwrite")
    assert done.messages == []
    assert "coordinates read as um from the corner of the picture; --polygons-frame um" in done.out
    np.testing.assert_allclose(anndata.read_h5ad(out).obs["x_um"][:3], [380, 380, 380])
    rings = [(np.array(ring) * 2, properties) for ring, properties in rings]
    path = write_geojson(tmp_path / "px.geojson", *[(ring.tolist(), properties) for ring, properties in rings])
    assert run("query", field, "--polygons", path, "--out", out, "--overwrite").messages == []
    done = run("query", field, "--polygons", path, "--polygons-frame", "um", "--out", out, "--overwrite")
    assert any("give --polygons-frame canvas" in line for line in done.messages), done.messages


def test_lines_and_points_cost_no_polygon(table, tmp_path):
    path = write_geojson(tmp_path / "a.geojson", (square(20, 20, 40), {"name": "a"}))
    content = json.loads(path.read_text())
    line = {"type": "LineString", "coordinates": [[10, 10], [90, 90]]}
    content["features"].append({"type": "Feature", "geometry": line, "properties": {"name": "ruler"}})
    path.write_text(json.dumps(content))
    queried, done = table("--polygons", path)
    assert list(queried.obs_names) == ["a"]
    assert [line for line in done.messages if "1 of 2 features are left out: 1 of type LineString" in line]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.int32])
def test_masks_of_all_kinds_give_the_same(table, tmp_path, dtype):
    labels = np.zeros((int(HEIGHT_UM), int(WIDTH_UM)), dtype)
    labels[40:90, 30:120] = 1
    np.save(tmp_path / "mask.npy", labels)
    tifffile.imwrite(tmp_path / "mask.tif", labels, compression="zlib")
    endings = ["npy", "tif"]
    if dtype != np.int32:  # which PNG cannot hold
        Image.fromarray(labels).save(tmp_path / "mask.png")
        endings.append("png")
    tables = [table("--labels", tmp_path / f"mask.{ending}")[0] for ending in endings]
    for queried in tables:
        assert list(queried.obs_names) == ["1"]
        assert queried.obs["area_um2"].to_list() == [50 * 90]
        np.testing.assert_array_equal(queried.X, tables[0].X)


MASKS = {
    "empty": (np.zeros((260, 300), int), [], "has no label"),
    "fractions": (np.full((260, 300), 0.5), [], "one plane of whole numbers"),
    "a colour": (np.ones((260, 300, 3), np.uint8), [], "one plane of whole numbers"),
    "negative": (np.full((260, 300), -1), [], "holds -1"),
    "of another size": (np.ones((300, 260), int), [], "is 260 x 300 pixels, but the slide 'C' is 300 x 260"),
    "larger than the slide": (np.ones((260, 300), int), ["--labels-mpp", "3"], "900 x 780 um and reaches beyond"),
    "of no size": (np.ones((260, 300), int), ["--labels-mpp", "0"], "--labels-mpp 0.0: must be a positive"),
    "objects": (np.full((2, 2), {}), [], "is not a TIFF, PNG or npy file that can be read"),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks_that_cannot_be_used(refused, tmp_path, case):
    labels, more, words = MASKS[case]
    np.save(tmp_path / "mask.npy", labels)
    refused("--labels", tmp_path / "mask.npy", *more, words=[words])


@pytest.mark.parametrize("name", ["mask.tif", "mask.png", "mask.npy"])
def test_files_that_are_not_masks(refused, tmp_path, name):
    refused("--labels", tmp_path / name, words=[name, "cannot be read (", "No such file"])
    (tmp_path / name).write_bytes(b"no image")
    refused("--labels", tmp_path / name, words=[name])


def test_the_regions_of_a_folder_are_queried(xenium, table, refused):
    cells = read_xenium(xenium)
    queried, _ = table("--like", xenium)
    assert list(queried.obs_names) == list(cells.counts.names)
    np.testing.assert_allclose(queried.obs[["x_um", "y_um"]], cells.regions.centers_um)
    refused("--like", xenium, "--sample", "A", words=["is not a manifest"])
    refused("--like", xenium.parent, words=["none of the known platforms"])


def test_a_sample_of_another_slide_is_refused(data, table, refused, tmp_path):
    tissue = VirtualTissue.generate("breast", 31, 41, 400, HEIGHT_UM)
    other = dataclasses.replace(tissue.measure(spots(400, HEIGHT_UM, 50.0, 60.0), 1), id="wide")
    manifest = write_dataset(tmp_path / "other", [other], 60.0)
    refused("--like", manifest, words=["400 x 260 px", "'C' of 300 x 260 px", "this is another slide"])
    refused("--like", manifest, "--sample", "D", words=["no sample 'D'"])
    refused("--like", manifest, "--image", "x.png", words=["--image x.png"])
    refused("--polygons-frame", "um", "--grid-um", "20", words=["--polygons-frame goes with --polygons"])
    copied = shutil.copytree(data, tmp_path / "data") / "samples.toml"
    text = copied.read_text()
    assert "\nmpp = 1.0\n" in text
    copied.write_text(text.replace("\nmpp = 1.0\n", "\nmpp = 1.02\n"))
    queried, done = table("--like", copied, "--sample", "C")
    assert queried.n_obs > 0
    assert [line for line in done.messages if "differ by up to 6 um" in line]


def test_a_sample_of_another_slide_of_the_same_size_is_told(data, table, refused, tmp_path):
    # A and C have the same size, and tissue everywhere: only the files show that they differ.
    queried, done = table("--like", data / "samples.toml", "--sample", "C")
    assert done.messages == []
    queried, done = table("--like", data / "samples.toml", "--sample", "A")
    assert queried.n_obs > 0
    (message,) = done.messages
    assert "A.png is as large as the field's slide 'C', but another file" in message
    # A copy in another format is the same section.
    copied = shutil.copytree(data, tmp_path / "data")
    Image.open(copied / "C.png").save(copied / "C.tif")
    text = (copied / "samples.toml").read_text()
    (copied / "samples.toml").write_text(text.replace('"C.png"', '"C.tif"'))
    _, done = table("--like", copied / "samples.toml", "--sample", "C")
    assert len(done.messages) == 1
