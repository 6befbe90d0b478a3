from __future__ import annotations

import json

import anndata
import numpy as np
import pytest
import tifffile

from pixnet.field import ExpressionField
from pixnet.readers.manifest import manifest_entries
from pixnet.regions import Disks

WIDTH_UM, HEIGHT_UM = 300, 260


@pytest.fixture
def disks(tmp_path):
    path = tmp_path / "disks.csv"
    path.write_text("id,x_um,y_um\nfirst,100,90\nsecond,200.5,150\n")
    return path


@pytest.fixture
def polygons(tmp_path):
    ring = [[0, 0], [WIDTH_UM, 0], [WIDTH_UM, HEIGHT_UM], [0, HEIGHT_UM], [0, 0]]
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"name": "all"}}
    ]
    path = tmp_path / "shapes.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_disks_are_queried(field, run, disks, tmp_path):
    out = tmp_path / "new" / "table.h5ad"
    done = run("query", field, "--disks", disks, "--diameter-um", "55", "--out", out)
    assert done.status == 0, done.err
    assert done.out == f"Table: {out} (2 regions x 12 genes; expected counts)\n"
    table = anndata.read_h5ad(out)
    assert list(table.obs_names) == ["first", "second"]
    expected = ExpressionField.open(field).query(Disks(np.array([[100.0, 90.0], [200.5, 150.0]]), 55.0))
    np.testing.assert_array_equal(table.X, expected.X)
    np.testing.assert_array_equal(table.layers["log1p"], expected.layers["log1p"])
    assert table.uns["pixnet"]["units"] == "expected counts"
    assert [path.name for path in out.parent.iterdir()] == ["table.h5ad"]


def test_each_disk_may_have_its_own_size(field, run, tmp_path):
    (tmp_path / "disks.csv").write_text("x_um,y_um,diameter_um\n100,90,20\n100,90,40\n")
    done = run("query", field, "--disks", tmp_path / "disks.csv", "--out", tmp_path / "table.h5ad")
    assert done.status == 0, done.err
    table = anndata.read_h5ad(tmp_path / "table.h5ad")
    np.testing.assert_allclose(table.obs["area_um2"], [100 * np.pi, 400 * np.pi])


def test_a_grid_adds_up_to_the_polygon_that_it_covers(field, run, polygons, tmp_path):
    assert run("query", field, "--grid-um", "7.5", "--out", tmp_path / "grid.h5ad").status == 0
    assert run("query", field, "--polygons", polygons, "--out", tmp_path / "all.h5ad").status == 0
    grid, polygon = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("grid", "all"))
    assert grid.n_obs == 40 * 35
    assert (grid.obs["row"].max(), grid.obs["col"].max()) == (34, 39)
    assert list(polygon.obs_names) == ["all"]
    np.testing.assert_allclose(np.asarray(grid.X).sum(axis=0), np.asarray(polygon.X)[0], rtol=1e-5)


def test_genes_are_in_the_requested_order(field, run, disks, tmp_path):
    names = ExpressionField.open(field).gene_names[3:1:-1]
    arguments = ("--disks", disks, "--diameter-um", "55", "--genes", ",".join(names))
    assert run("query", field, *arguments, "--out", tmp_path / "table.h5ad").status == 0
    assert tuple(anndata.read_h5ad(tmp_path / "table.h5ad").var_names) == names


def test_a_table_is_not_overwritten_unasked(field, run, disks, tmp_path):
    out = tmp_path / "table.h5ad"
    out.write_text("good")
    arguments = ("query", field, "--disks", disks, "--diameter-um", "55", "--out", out)
    run(*arguments).assert_refused("table.h5ad", "exists already")
    assert out.read_text() == "good"
    assert run(*arguments, "--overwrite").status == 0
    assert anndata.read_h5ad(out).n_obs == 2


def test_a_failed_query_leaves_a_good_table(field, run, disks, tmp_path):
    out = tmp_path / "table.h5ad"
    out.write_text("good")
    arguments = ("--disks", disks, "--diameter-um", "55", "--genes", "NOSUCH", "--overwrite", "--out", out)
    run("query", field, *arguments).assert_refused("NOSUCH")
    assert out.read_text() == "good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disks.csv", "table.h5ad"]


def test_regions_off_the_slide_are_warned_of(field, run, tmp_path):
    (tmp_path / "disks.csv").write_text("x_um,y_um\n100,90\n5000,90\n")
    arguments = ("--disks", tmp_path / "disks.csv", "--diameter-um", "55", "--out", tmp_path / "table.h5ad")
    done = run("query", field, *arguments)
    assert done.status == 0
    assert len(done.messages) == 1
    assert done.messages[0].startswith("Warning: 1 of 2 regions lie outside")


@pytest.mark.parametrize("side", ["0.001", "1e-9"])
def test_too_many_squares_are_refused_before_they_are_made(field, run, tmp_path, side):
    done = run("query", field, "--grid-um", side, "--out", tmp_path / "table.h5ad")
    done.assert_refused("squares (at most 100,000,000)", "give wider ones")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of --disks, --grid-um, --polygons, --labels and --like"),
        (["--grid-um", "8", "--polygons", "x.geojson"], "one of --disks, --grid-um, --polygons, --labels and --like"),
        (["--grid-um", "8", "--diameter-um", "55"], "leave it out"),
        (["--grid-um", "0"], "positive"),
        (["--grid-um", "nan"], "positive"),
        (["--disks", "missing.csv", "--diameter-um", "55"], "missing.csv: cannot be read"),
        (["--polygons", "missing.geojson"], "missing.geojson cannot be read"),
        (["--grid-um", "50", "--genes", ", ,"], "names nothing"),
    ],
)
def test_options_that_contradict_each_other(field, run, tmp_path, arguments, words):
    run("query", field, *arguments, "--out", tmp_path / "table.h5ad").assert_refused(words)
    assert not list(tmp_path.iterdir())


def test_the_name_of_the_table_ends_in_its_format(field, run, tmp_path):
    run("query", field, "--grid-um", "50", "--out", tmp_path / "table.csv").assert_refused("ends in .h5ad")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,y\n1,2\n", "no column 'x_um', found 'x', 'y'"),
        ("x_um,y_um\n", "a header but no disks"),
        ("x_um,y_um\n1,2\n1,here\n", "line 3 has 'here' as y_um"),
        ("x_um,y_um\n1,inf\n", "line 2 has 'inf' as y_um"),
        ("id,x_um,y_um\na,1,2\na,3,4\n", "two disks are called 'a'"),
        ("x_um,y_um,diameter_um\n1,2,5\n", "choose one"),
        ("x_um,y_um\n-900,-900\n", "none of the 1 regions touches the slide"),
        ("", "is not a CSV table"),
        (b"\xff\xfe\x00\x01", "is not a CSV table"),
    ],
)
def test_a_bad_table_of_disks_is_explained(field, run, tmp_path, text, words):
    (tmp_path / "disks.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = ("--disks", tmp_path / "disks.csv", "--diameter-um", "55", "--out", tmp_path / "table.h5ad")
    run("query", field, *arguments).assert_refused(words)
    assert [path.name for path in tmp_path.iterdir()] == ["disks.csv"]


def test_disks_need_a_size(field, run, disks, tmp_path):
    done = run("query", field, "--disks", disks, "--out", tmp_path / "table.h5ad")
    done.assert_refused("--diameter-um", "diameter_um")


def test_a_turned_grid_adds_up_to_the_slide(field, run, tmp_path):
    for name, more in (("turned", ("--angle-deg", "30")), ("upright", ())):
        done = run("query", field, "--grid-um", "25", *more, "--out", tmp_path / f"{name}.h5ad")
        assert done.status == 0, done.err
    turned, upright = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("turned", "upright"))
    assert turned.n_obs > upright.n_obs
    np.testing.assert_allclose(turned.X.sum(0), upright.X.sum(0), rtol=1e-5)


def test_a_table_may_be_zarr(field, run, disks, tmp_path):
    for name in ("table.h5ad", "table.zarr"):
        assert run("query", field, "--disks", disks, "--diameter-um", "55", "--out", tmp_path / name).status == 0
    first, second = anndata.read_h5ad(tmp_path / "table.h5ad"), anndata.read_zarr(tmp_path / "table.zarr")
    np.testing.assert_array_equal(first.X, second.X)
    assert list(first.obs_names) == list(second.obs_names)


def test_a_label_mask_is_queried(field, run, tmp_path):
    labels = np.zeros((HEIGHT_UM, WIDTH_UM), np.int32)
    labels[40:90, 30:120], labels[100:140, 50:60] = 7, 9
    np.save(tmp_path / "mask.npy", labels)
    tifffile.imwrite(tmp_path / "mask.tif", labels)
    for mask in ("mask.npy", "mask.tif"):
        done = run("query", field, "--labels", tmp_path / mask, "--out", tmp_path / "t.h5ad", "--overwrite")
        assert done.status == 0, done.err
        table = anndata.read_h5ad(tmp_path / "t.h5ad")
        assert list(table.obs_names) == ["7", "9"]
        np.testing.assert_allclose(table.obs["area_um2"], [50 * 90, 40 * 10])
    np.save(tmp_path / "half.npy", labels[::2, ::2])
    half = ("query", field, "--labels", tmp_path / "half.npy", "--out", tmp_path / "half.h5ad")
    run(*half).assert_refused("half.npy", "150 x 130 pixels", f"{WIDTH_UM} x {HEIGHT_UM}", "--labels-mpp")
    assert run(*half, "--labels-mpp", "2").status == 0


def test_polygons_of_one_class_count_once(field, run, tmp_path):
    def feature(left, right, kind):
        ring = [[left, 20], [right, 20], [right, 80], [left, 80], [left, 20]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": kind}}}

    features = [feature(20, 80, "tumour"), feature(50, 110, "tumour"), feature(150, 200, "fat")]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    done = run("query", field, "--polygons", tmp_path / "a.geojson", "--by-class", "--out", tmp_path / "t.h5ad")
    assert done.status == 0, done.err
    table = anndata.read_h5ad(tmp_path / "t.h5ad")
    assert list(table.obs_names) == ["fat", "tumour"]
    np.testing.assert_allclose(table.obs["area_um2"], [50 * 60, 90 * 60])


def test_the_regions_of_a_sample_are_queried(field, run, data, tmp_path):
    manifest = data / "samples.toml"
    first = manifest_entries(manifest)[0].read()
    like = ("query", field, "--like", manifest, "--out", tmp_path / "t.h5ad")
    run(*like).assert_refused("samples.toml", "choose one with --sample")
    done = run(*like, "--sample", first.id)
    assert done.status == 0, done.err
    table = anndata.read_h5ad(tmp_path / "t.h5ad")
    assert list(table.obs_names) == list(first.counts.region_names())
    np.testing.assert_allclose(table.obs[["x_um", "y_um"]], first.regions.centers_um)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--grid-um", "20", "--by-class"), "--by-class goes with --polygons"),
        (("--disks", "none.csv", "--angle-deg", "3"), "--angle-deg goes with --grid-um"),
        (("--grid-um", "20", "--sample", "A"), "--sample goes with --like"),
        (("--grid-um", "20", "--labels-mpp", "1"), "--labels-mpp goes with --labels"),
        (("--grid-um", "20", "--angle-deg", "nan"), "--angle-deg nan: must be a number of degrees"),
        (("--labels", "none.npy", "--labels-mpp", "-1"), "--labels-mpp -1.0: must be a positive number of um"),
        (("--polygons", "a.geojson", "--alignment", "b.csv"), "not for a.geojson; leave it out"),
        (("--like", "a.toml", "--image", "b.png"), "--image b.png: a.toml states the image of each sample"),
        (("--like", "folder", "--sample", "A"), "folder: is not a manifest"),
        ((), "only one"),
    ],
)
def test_options_that_do_not_fit_are_refused(field, run, tmp_path, more, words):
    run("query", field, *more, "--out", tmp_path / "t.h5ad").assert_refused(words)
    assert not (tmp_path / "t.h5ad").exists()
