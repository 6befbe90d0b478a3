from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from pixnet.cli.export import To
from pixnet.field import ExpressionField
from pixnet.field.export import FORMATS

NAMES = {"ome-zarr": "a.zarr", "ome-tiff": "a.ome.tif", "spatialdata": "b.zarr", "geojson": "a.geojson", "csv": "a.csv"}


@pytest.fixture(scope="module")
def genes(field):
    return ExpressionField.open(field).gene_names[2:0:-1]


def test_the_command_line_knows_every_format():
    assert [member.value for member in To] == list(FORMATS)


@pytest.mark.parametrize("to", NAMES)
def test_every_format_is_written(field, genes, run, tmp_path, to):
    out = tmp_path / "new" / NAMES[to]
    done = run("export", field, "--genes", ",".join(genes), "--to", to, "--out", out)
    assert done.status == 0, done.err
    assert done.out == f"Export: {out} (2 genes as {to})\n"
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_options_reach_the_export(field, genes, run, tmp_path):
    opened = ExpressionField.open(field)
    arguments = ("export", field, "--genes", genes[0], "--log")
    assert run(*arguments, "--to", "ome-tiff", "--level", "0", "--out", tmp_path / "a.ome.tif").status == 0
    image = tifffile.imread(tmp_path / "a.ome.tif").squeeze()
    np.testing.assert_allclose(image, opened.gene(genes[0], log=True), rtol=1e-6)
    assert run(*arguments, "--to", "csv", "--grid-um", "20", "--out", tmp_path / "a.csv").status == 0
    assert set(pd.read_csv(tmp_path / "a.csv")["x_um"] % 20) == {10}


def test_polygons_are_read_in_pixels(field, genes, run, tmp_path):
    ring = [[10, 10], [110, 10], [110, 60], [10, 60], [10, 10]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"name": "box"}}
    (tmp_path / "in.geojson").write_text(json.dumps(feature))
    arguments = ("--genes", genes[0], "--polygons", tmp_path / "in.geojson", "--out", tmp_path / "out.geojson")
    assert run("export", field, "--to", "geojson", *arguments).status == 0
    (exported,) = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert exported["properties"]["name"] == "box"
    assert sorted(map(tuple, exported["geometry"]["coordinates"][0])) == sorted(map(tuple, ring))


def test_an_export_is_not_overwritten_unasked(field, genes, run, tmp_path):
    arguments = ("export", field, "--genes", genes[0], "--to", "ome-zarr", "--out", tmp_path / "a.zarr")
    assert run(*arguments).status == 0
    run(*arguments).assert_refused("a.zarr", "exists already")
    assert run(*arguments, "--log", "--overwrite").status == 0
    assert zarr.open_group(tmp_path / "a.zarr").attrs["pixnet_export"]["units"].startswith("log1p")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--genes", "NOSUCH", "--to", "csv"], "no gene 'NOSUCH'"),
        (["--genes", ", ,", "--to", "csv"], "names nothing"),
        (["--genes", "GENE", "--to", "ome-tiff"], "ends in .ome.tif"),
        (["--genes", "GENE", "--to", "csv", "--level", "0"], "level of the pyramid"),
        (["--genes", "GENE", "--to", "csv", "--grid-um", "1e-4"], "coarser grid"),
        (["--genes", "GENE", "--to", "csv", "--grid-um", "5", "--polygons", "x.geojson"], "give one of them"),
        (["--genes", "GENE", "--to", "csv", "--polygons", "missing.geojson"], "missing.geojson cannot be read"),
    ],
)
def test_options_that_make_no_sense(field, genes, run, tmp_path, arguments, words):
    arguments = [genes[0] if argument == "GENE" else argument for argument in arguments]
    run("export", field, *arguments, "--out", tmp_path / "a.csv").assert_refused(words)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_names_the_known_ones(field, run, tmp_path):
    done = run("export", field, "--genes", "A", "--to", "png", "--out", tmp_path / "a.png")
    assert done.status == 2
    assert all(name in done.err for name in NAMES)
