from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from tests.field.conftest import Build, picture

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field import ExpressionField
from pixnet.field.export import tables
from pixnet.readers.annotations import read_annotations
from pixnet.regions import Disks, LabelMask, Polygons, Squares
from pixnet.slide import Slide

Fields = dict[str, ExpressionField]
CHOSEN = ["GNAS", "ERBB2"]
KINDS = ("rate", "mean", "sum")


def squares(field: ExpressionField, side: float) -> Squares:
    slide = field.attributes.lattice
    return Squares.tiling(0, 0, slide.width_um, slide.height_um, side)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_csv_holds_what_its_squares_are_queried_as(
    patchy_fields: Fields, tmp_path: Path, name: str, kind: str, log: bool
) -> None:
    field = patchy_fields[kind]
    field.export(tmp_path / name, "csv", CHOSEN, log=log, grid_um=50)
    found = pd.read_csv(tmp_path / name)
    assert list(found.columns) == ["region", "x_um", "y_um", "valid_area_um2", *CHOSEN]
    places = (found[["y_um", "x_um"]].to_numpy() // 50).astype(int)
    wanted = field.query(Squares(0, 0, 50, *places.T), CHOSEN)
    values = wanted.layers["log1p"] if log and kind == "rate" else wanted.X
    np.testing.assert_allclose(found[CHOSEN], values, rtol=1e-5)
    np.testing.assert_allclose(found[["x_um", "y_um"]], wanted.obs[["x_um", "y_um"]])
    np.testing.assert_allclose(found["valid_area_um2"], wanted.obs["valid_area_um2"], rtol=1e-5)
    # Squares without data are left out, and only those.
    with pytest.warns(PixNetWarning):
        every = field.query(squares(field, 50), CHOSEN)
    assert len(found) == (every.obs["valid_area_um2"] > 0).sum() < len(every)


def test_squares_are_100_um_wide_by_default(patchy_fields: Fields, tmp_path: Path) -> None:
    patchy_fields["mean"].export(tmp_path / "table.csv", "csv", "ACTB")
    found = pd.read_csv(tmp_path / "table.csv")
    assert set(found["x_um"] % 100) == {50}


def test_a_given_region_without_data_is_kept_without_values(patchy_fields: Fields, tmp_path: Path) -> None:
    field = patchy_fields["rate"]
    disks = Disks([[300, 500], [125, 200], [1000, 300]], 30)
    for name, to in (("table.csv", "csv"), ("shapes.geojson", "geojson")):
        with pytest.warns(PixNetWarning, match="2 of 3 regions"):
            field.export(tmp_path / name, to, CHOSEN, regions=disks)
    found = pd.read_csv(tmp_path / "table.csv")
    assert np.isnan(found[CHOSEN]).all(axis=1).tolist() == [False, True, True]
    features = json.loads((tmp_path / "shapes.geojson").read_text())["features"]
    assert [sorted(one["properties"]["measurements"]) for one in features] == [sorted(CHOSEN), [], []]


@pytest.mark.parametrize("kind", KINDS)
def test_a_geojson_holds_squares_in_pixels_with_measurements(patchy_fields: Fields, tmp_path: Path, kind: str) -> None:
    field = patchy_fields[kind]
    field.export(tmp_path / "squares.geojson", "geojson", CHOSEN, grid_um=75)
    shapes = geopandas.read_file(tmp_path / "squares.geojson").set_crs(None, allow_override=True)
    side = 75 / field.attributes.slide.mpp
    np.testing.assert_allclose(shapes.area, side**2)
    features = json.loads((tmp_path / "squares.geojson").read_text())["features"]
    assert len(features) == len(shapes)
    again = Polygons.from_geojson(tmp_path / "squares.geojson", field.attributes.slide.mpp)
    table = field.query(again, CHOSEN)
    found = [[one["properties"]["measurements"][gene] for gene in CHOSEN] for one in features]
    np.testing.assert_allclose(found, table.X, rtol=1e-5)
    assert [one["properties"]["name"] for one in features] == list(table.obs_names)
    for one in features:
        assert one["properties"]["objectType"] == "tile"
        assert one["properties"]["classification"]["name"] == "PixNet"


def test_given_polygons_come_back_with_holes_and_names(patchy_fields: Fields, tmp_path: Path) -> None:
    field = patchy_fields["rate"]
    ring = shapely.box(200, 420, 300, 500).difference(shapely.box(230, 440, 260, 480))
    regions = Polygons([ring, shapely.Point(500, 500).buffer(40)], ["ring", "round"])
    field.export(tmp_path / "shapes.geojson", "geojson", CHOSEN, log=True, regions=regions)
    again = Polygons.from_geojson(tmp_path / "shapes.geojson", field.attributes.slide.mpp)
    assert again.names == ("ring", "round")
    np.testing.assert_allclose(again.areas_um2, regions.areas_um2, rtol=1e-4)
    features = json.loads((tmp_path / "shapes.geojson").read_text())["features"]
    found = [[one["properties"]["measurements"][gene] for gene in CHOSEN] for one in features]
    np.testing.assert_allclose(found, field.query(regions, CHOSEN).layers["log1p"], rtol=1e-5)
    assert {one["properties"]["objectType"] for one in features} == {"detection"}


def test_outlines_go_to_qupath_and_back_in_its_frame(build: Build, tmp_path: Path) -> None:
    slide = Slide.from_array(picture(400, 500), 0.5, "scanned")
    slide.bounds_px = (120, 80, 300, 200)
    field = build(on=slide)
    frames = field.attributes.slide.frames
    assert frames == slide.frames
    regions = Polygons([shapely.box(100, 60, 110, 80)], ["a"])
    field.export(tmp_path / "a.geojson", "geojson", ("GNAS",), regions=regions)
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    # QuPath shows the scanned part alone: its corner, at 60 and 40 um, is the zero of the pixels.
    assert shapely.geometry.shape(feature["geometry"]).bounds == (80, 40, 100, 80)
    with pytest.warns(PixNetWarning, match="counted as QuPath does: from the corner of the scanned part"):
        again = read_annotations(tmp_path / "a.geojson", frames)
    assert again.bounds_um.tolist() == regions.bounds_um.tolist()
    assert field.query(again).obsm["spatial"].tolist() == [[210, 140]]  # pixels of the whole picture


def test_turned_squares_and_disks_have_outlines(patchy_fields: Fields, tmp_path: Path) -> None:
    field = patchy_fields["mean"]
    turned = Squares(400, 500, 20, [0, 1, 2], [0, 0, 3], angle_deg=30)
    disks = Disks([[300, 500], [400.5, 600]], [55, 20])
    for regions, tolerance in ((turned, 1e-4), (disks, 0.01)):
        field.export(tmp_path / "shapes.geojson", "geojson", "GNAS", regions=regions, overwrite=True)
        again = Polygons.from_geojson(tmp_path / "shapes.geojson", field.attributes.slide.mpp)
        np.testing.assert_allclose(again.areas_um2, regions.areas_um2, rtol=tolerance)
        np.testing.assert_allclose(again.centers_um, regions.centers_um, atol=1e-3)
    with pytest.raises(FieldError, match="LabelMask are not known; export its regions as csv"):
        field.export(
            tmp_path / "mask.geojson", "geojson", "GNAS", regions=LabelMask(np.ones((2, 2), int), 300, 500, 10)
        )


@pytest.mark.parametrize(("name", "to"), [("a.csv", "csv"), ("a.geojson", "geojson"), ("a.zarr", "spatialdata")])
def test_a_table_too_large_is_refused_before_it_is_made(
    patchy_fields: Fields, tmp_path: Path, name: str, to: str
) -> None:
    with pytest.raises(FieldError, match=r"regions x 2 genes would take about .* GB .*coarser grid"):
        patchy_fields["rate"].export(tmp_path / name, to, CHOSEN, grid_um=1e-3)
    for side in (0.0, -5.0, float("nan"), float("inf")):
        with pytest.raises(FieldError, match="must be a positive number"):
            patchy_fields["rate"].export(tmp_path / name, to, CHOSEN, grid_um=side)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "to"), [("a.csv", "csv"), ("a.geojson", "geojson")])
def test_regions_written_some_at_a_time_are_the_same(
    patchy_fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, to: str
) -> None:
    field = patchy_fields["rate"]
    field.export(tmp_path / name, to, CHOSEN)
    whole = (tmp_path / name).read_text()
    monkeypatch.setattr(tables, "_ROWS", 7)
    field.export(tmp_path / name, to, CHOSEN, overwrite=True)
    assert (tmp_path / name).read_text() == whole
