from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import spatialdata
from spatialdata.transformations import get_transformation

from pixnet.errors import FieldError
from pixnet.field import ExpressionField
from pixnet.regions import Disks, Squares

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:contextlib", "ignore::FutureWarning")

Fields = dict[str, ExpressionField]
CHOSEN = ["GNAS", "ERBB2"]


@pytest.fixture(scope="module")
def exported(patchy_fields: Fields, tmp_path_factory: pytest.TempPathFactory) -> spatialdata.SpatialData:
    path = tmp_path_factory.mktemp("export") / "maps.zarr"
    patchy_fields["rate"].export(path, "spatialdata", CHOSEN, grid_um=50.0)
    return spatialdata.read_zarr(path)


def test_every_level_is_read_again(patchy_fields: Fields, exported: spatialdata.SpatialData) -> None:
    field, image = patchy_fields["rate"], exported["expression"]
    assert list(image) == ["scale0", "scale1", "scale2"]
    for level in range(3):
        found, wanted = image[f"scale{level}"]["image"], field.genes(CHOSEN, level)
        assert found.c.values.tolist() == CHOSEN
        assert found.dtype == np.float32
        _, height, width = wanted.shape
        np.testing.assert_allclose(found[:, :height, :width], wanted, rtol=1e-6)
        assert np.isnan(found[:, height:]).all()
        assert np.isnan(found[:, :, width:]).all()


def test_pixels_of_the_field_lie_where_they_should_in_um_and_on_the_slide(
    patchy_fields: Fields, exported: spatialdata.SpatialData
) -> None:
    field = patchy_fields["rate"]
    assert sorted(exported.coordinate_systems) == ["pixels", "um"]
    for system, unit in (("um", 1.0), ("pixels", field.attributes.slide.mpp)):
        matrix = get_transformation(exported["expression"], system).to_affine_matrix(("x", "y"), ("x", "y"))
        for level in range(3):
            wanted = field.gene("GNAS", level)
            # Coordinates of a coarser level are in pixels of the finest.
            found = exported["expression"][f"scale{level}"]["image"]
            for axis, row in (("x", 0), ("y", 1)):
                places = matrix[row, row] * found[axis].values + matrix[row, 2]
                np.testing.assert_allclose(places[: wanted.sizes[axis]] * unit, wanted[axis])


def test_a_box_in_um_holds_the_pixels_of_that_box(patchy_fields: Fields, exported: spatialdata.SpatialData) -> None:
    box = spatialdata.bounding_box_query(
        exported["expression"],
        axes=("x", "y"),
        min_coordinate=[200, 420],
        max_coordinate=[300, 480],
        target_coordinate_system="um",
    )
    wanted = patchy_fields["rate"].genes(CHOSEN).sel(x=slice(200, 300), y=slice(420, 480))
    np.testing.assert_allclose(box["scale0"]["image"], wanted, rtol=1e-6)


def test_the_table_annotates_the_squares(patchy_fields: Fields, exported: spatialdata.SpatialData) -> None:
    field, table = patchy_fields["rate"], exported["table"]
    assert list(table.var_names) == CHOSEN
    assert (table.obs["valid_area_um2"] > 0).all()
    shapes = exported["regions"]
    assert (shapes.area == 2500).all()
    places = (np.column_stack([shapes.centroid.x, shapes.centroid.y]) // 50).astype(int)
    wanted = field.query(Squares(0, 0, 50.0, places[:, 1], places[:, 0]), CHOSEN)
    np.testing.assert_allclose(table.X, wanted.X, rtol=1e-6)
    np.testing.assert_allclose(table.layers["log1p"], wanted.layers["log1p"], rtol=1e-6)
    joined, _ = spatialdata.join_spatialelement_table(exported, spatial_element_names="regions", table_name="table")
    assert len(joined["regions"]) == table.n_obs
    in_pixels = spatialdata.transform(shapes, to_coordinate_system="pixels")
    np.testing.assert_allclose(in_pixels.centroid.x, shapes.centroid.x / field.attributes.slide.mpp)


def test_without_regions_there_is_the_image_alone(patchy_fields: Fields, tmp_path: Path) -> None:
    """One level alone is no pyramid, as SpatialData has it."""
    field = patchy_fields["mean"]
    field.export(tmp_path / "maps.zarr", "spatialdata", "ACTB", level=2)
    found = spatialdata.read_zarr(tmp_path / "maps.zarr")
    assert [name for _, name, _ in found.gen_elements()] == ["expression"]
    np.testing.assert_allclose(found["expression"], field.genes(["ACTB"], 2), rtol=1e-6)
    matrix = get_transformation(found["expression"], "um").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(matrix, np.diag([8.0, 8.0, 1.0]))
    assert found.attrs["pixnet_export"]["units"] == field.units


def test_given_regions_keep_their_shape(patchy_fields: Fields, tmp_path: Path) -> None:
    field, disks = patchy_fields["mean"], Disks([[300, 500], [400.5, 600]], [55, 20])
    field.export(tmp_path / "maps.zarr", "spatialdata", CHOSEN, level=2, regions=disks)
    found = spatialdata.read_zarr(tmp_path / "maps.zarr")
    np.testing.assert_allclose(found["regions"].area, disks.areas_um2, rtol=0.01)
    np.testing.assert_array_equal(found["table"].X, field.query(disks, CHOSEN).X)


def test_without_the_package_it_is_named(
    patchy_fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(FieldError, match=r"pip install 'pixnet\[spatialdata\]'"):
        patchy_fields["mean"].export(tmp_path / "maps.zarr", "spatialdata", "ACTB")
    assert not list(tmp_path.iterdir())
