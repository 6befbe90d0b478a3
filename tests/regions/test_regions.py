from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pixnet.errors import DataError, PixNetWarning
from pixnet.grid import Grid
from pixnet.regions import Disks, LabelMask, Polygons, Regions, Squares

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 20], [0, 20], [0, 0]]]}
RING = {"type": "Polygon", "coordinates": [*SQUARE["coordinates"], [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]]}
TWO = {"type": "MultiPolygon", "coordinates": [RING["coordinates"], [[[30, 0], [31, 0], [31, 1], [30, 0]]]]}

with np.errstate(invalid="ignore"):
    NOT_FINITE = shapely.Polygon([(0, 0), (1, math.nan), (1, 1)])


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "id": "5a0b", "geometry": geometry, "properties": properties}


def written(folder: Path, content: Any) -> Path:
    path = folder / "export.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


# Disks


def test_disks_know_their_shape() -> None:
    disks = Disks([[10, 20], [30, 40]], [2, 4])
    assert len(disks) == 2
    assert disks.centers_um.tolist() == [[10, 20], [30, 40]]
    assert disks.areas_um2.tolist() == pytest.approx([math.pi, 4 * math.pi])
    assert disks.bounds_um.tolist() == [[9, 19, 11, 21], [28, 38, 32, 42]]
    assert Disks([[1, 2], [3, 4]], 7).diameters_um.tolist() == [7, 7]
    assert len(Disks(np.empty((0, 2)), 5.0)) == 0


@pytest.mark.parametrize(
    ("centers", "diameter", "says"),
    [
        ([[0, math.nan]], 1, "centers_um holds 1 values that are not finite"),
        ([0, 1], 1, "x and y of each disk"),
        ([[0, 1, 2]], 1, "x and y of each disk"),
        ([["a", "b"]], 1, "centers_um must hold numbers"),
        ([[0, 1]], 0, "diameter of a disk must be positive"),
        ([[0, 1]], [-3], "diameter_um holds -3"),
        ([[0, 1]], math.inf, "not finite"),
        ([[0, 1]], [1, 2], "one for each of 1 disks"),
    ],
)
def test_disks_are_checked(centers: Any, diameter: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Disks(centers, diameter)


def test_disks_copy_their_centres() -> None:
    centers = np.zeros((1, 2))
    disks = Disks(centers, 1.0)
    centers += 5
    assert disks.centers_um.tolist() == [[0, 0]]


# Squares


def test_squares_know_their_shape() -> None:
    squares = Squares(100.0, 200.0, 8.0, rows=[0, 2], cols=[1, 0])
    assert squares.centers_um.tolist() == [[112, 204], [104, 220]]
    assert squares.areas_um2.tolist() == [64, 64]
    assert squares.bounds_um.tolist() == [[108, 200, 116, 208], [100, 216, 108, 224]]


def test_squares_rotate_from_x_towards_y() -> None:
    squares = Squares(100.0, 200.0, 8.0, rows=[0], cols=[1], angle_deg=90)
    np.testing.assert_allclose(squares.centers_um, [[96, 212]])
    np.testing.assert_allclose(squares.bounds_um, [[92, 208, 100, 216]])
    turned = Squares(0.0, 0.0, 2.0, rows=[0], cols=[0], angle_deg=45)
    np.testing.assert_allclose(turned.bounds_um, [[-math.sqrt(2), 0, math.sqrt(2), 2 * math.sqrt(2)]], atol=1e-15)


def test_a_perspective_maps_the_squares() -> None:
    matrix = np.array([[1.01, 0.02, 3.0], [-0.015, 0.99, -1.0], [4e-4, -3e-4, 1.0]])
    squares = Squares(3.0, 4.0, 2.5, [2, -7, 30], [1, 12, 25], 30.0, matrix)
    flat = Squares(3.0, 4.0, 2.5, [2, -7, 30], [1, 12, 25], 30.0)

    def seen(xy: Any) -> Any:
        mapped = np.column_stack([xy, np.ones(len(xy))]) @ matrix.T
        return mapped[:, :2] / mapped[:, 2:]

    np.testing.assert_allclose(squares.centers_um, seen(flat.centers_um))
    turn = np.array([[math.cos(math.pi / 6), -0.5], [0.5, math.cos(math.pi / 6)]])
    for index, (row, col) in enumerate(zip(squares.rows, squares.cols, strict=True)):
        places = np.array([[col, row], [col + 1, row], [col + 1, row + 1], [col, row + 1]]) * 2.5
        shape = shapely.Polygon(seen(places @ turn.T + [3.0, 4.0]))
        assert squares.areas_um2[index] == pytest.approx(shape.area)
        np.testing.assert_allclose(squares.bounds_um[index], shape.bounds)
    same = Squares(3.0, 4.0, 2.5, [2, -7, 30], [1, 12, 25], 30.0, np.eye(3))
    for name in ("centers_um", "areas_um2", "bounds_um"):
        np.testing.assert_allclose(getattr(same, name), getattr(flat, name))


@given(st.floats(-720, 720), st.integers(-5, 5), st.integers(-5, 5))
def test_the_centre_of_a_square_is_the_middle_of_its_bounds(angle: float, row: int, col: int) -> None:
    squares = Squares(3.0, 4.0, 2.5, [row], [col], angle)
    bounds = squares.bounds_um
    np.testing.assert_allclose((bounds[:, :2] + bounds[:, 2:]) / 2, squares.centers_um, atol=1e-12)


def test_a_tiling_goes_row_by_row_and_over_the_edge() -> None:
    squares = Squares.tiling(10, 20, 35, 39, 10)
    assert squares.rows.tolist() == [0, 0, 0, 1, 1, 1]
    assert squares.cols.tolist() == [0, 1, 2, 0, 1, 2]
    assert squares.bounds_um[0].tolist() == [10, 20, 20, 30]
    assert squares.bounds_um[-1].tolist() == [30, 30, 40, 40]
    # 0.3 / 0.1 is a little below 3, and 0.6 / 0.2 a little below or above: neither adds a square.
    assert len(Squares.tiling(0, 0, 0.3, 0.1 * 6, 0.1)) == 18


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"side_um": 0}, "side_um is 0; it must be positive"),
        ({"side_um": [1, 2]}, "side_um must be one number"),
        ({"x_um": math.nan}, "x_um holds 1 values that are not finite"),
        ({"angle_deg": math.inf}, "angle_deg"),
        ({"rows": [0.5]}, "rows must hold whole numbers"),
        ({"rows": [0, 1]}, "one pair for each square"),
        ({"rows": [[0]], "cols": [[0]]}, "one pair for each square"),
        ({"perspective": [[1, 0], [0, 1]]}, r"perspective must be a \(3, 3\) matrix"),
        ({"perspective": [[1, 0, 0], [0, math.nan, 0], [0, 0, 1]]}, "perspective holds 1 values"),
        ({"perspective": [[1, 0.2, 0], [0, 1, 0], [0, 0, 1]]}, r"bends the lattice by 0\.2; it must be slight"),
        ({"perspective": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "bends the lattice by 2; it must be slight"),
        ({"perspective": [[1, 0, 0], [0, 1, 0], [0.01, 0, 1]], "cols": [9]}, r"bends the lattice by 0\.\d+"),
        ({"perspective": np.zeros((3, 3))}, "it must be slight"),
    ],
)
def test_squares_are_checked(arguments: dict[str, Any], says: str) -> None:
    good: dict[str, Any] = {"x_um": 0.0, "y_um": 0.0, "side_um": 1.0, "rows": [0], "cols": [0]}
    with pytest.raises(DataError, match=says):
        Squares(**(good | arguments))


@given(
    st.one_of(st.floats(-500, 500), st.sampled_from([0.0, 90.0, -180.0, 270.0])),
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0.5, 15),
)
def test_rotated_squares_cover_a_rectangle_once_and_all_touch_it(
    angle: float, width: int, height: int, side: float
) -> None:
    rectangle = Grid(3.0, 4.0, 3.0, height, width)
    squares = Squares.tiling(*rectangle.bounds_um, side, angle)
    inside = squares.coverage(rectangle)
    np.testing.assert_allclose(inside.sum(axis=0), 9.0, rtol=1e-5)
    assert inside.sum(axis=1).min() > 0
    assert len(np.unique(np.stack([squares.rows, squares.cols]), axis=1).T) == len(squares)
    np.testing.assert_array_equal(squares.angle_deg, angle)


def test_an_empty_rectangle_cannot_be_tiled() -> None:
    with pytest.raises(DataError, match="nothing to tile"):
        Squares.tiling(0, 0, 10, 0, 2)


# Polygons


def test_polygons_know_their_shape() -> None:
    polygons = Polygons([shapely.geometry.shape(RING), shapely.geometry.shape(TWO)], names=["ring", "two"])
    assert polygons.names == ("ring", "two")
    assert polygons.areas_um2.tolist() == [196, 196.5]
    assert polygons.bounds_um.tolist() == [[0, 0, 10, 20], [0, 0, 31, 20]]
    np.testing.assert_allclose(polygons.centers_um[0], [(200 * 5 - 4 * 3) / 196, (200 * 10 - 4 * 3) / 196])
    assert Polygons([shapely.box(0, 0, 1, 1)]).names == ("region 1",)
    assert len(Polygons([])) == 0
    assert Polygons([]).bounds_um.shape == (0, 4)


@given(st.booleans(), st.booleans())
def test_the_direction_of_rings_does_not_matter(outer: bool, inner: bool) -> None:
    exterior, hole = RING["coordinates"]
    shape = shapely.Polygon(exterior[:: -1 if outer else 1], [hole[:: -1 if inner else 1]])
    assert Polygons([shape]).coverage(Grid(0.0, 0.0, 5.0, 4, 2)).toarray().tolist() == [
        [21, 25, 25, 25, 25, 25, 25, 25]
    ]


def test_a_third_coordinate_is_ignored() -> None:
    polygons = Polygons([shapely.Polygon([(0, 0, math.nan), (2, 0, 1), (0, 2, 1)])])
    assert polygons.areas_um2.tolist() == [2]
    assert polygons.coverage(Grid(0.0, 0.0, 2.0, 1, 1)).toarray().tolist() == [[2]]


def test_a_bow_tie_is_repaired() -> None:
    bow_tie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    with pytest.warns(PixNetWarning, match="1 of 2 polygons .* polygon 1") as caught:
        polygons = Polygons([shapely.box(0, 0, 1, 1), bow_tie])
    assert caught[0].filename == __file__
    assert polygons.areas_um2.tolist() == [1, 8]
    assert polygons.coverage(Grid(0.0, 0.0, 4.0, 1, 1)).toarray().tolist() == [[1], [8]]


def test_parts_that_overlap_are_united() -> None:
    with pytest.warns(PixNetWarning, match="repaired"):
        polygons = Polygons([shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(1, 0, 3, 2)])])
    assert polygons.areas_um2.tolist() == [6]


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (shapely.Polygon(), "polygon 0 is empty"),
        (shapely.Point(1, 2), "polygon 0 is of type Point"),
        ("drawing", "polygon 0 is of type str"),
        (NOT_FINITE, "polygon 0 has a coordinate that is not finite"),
        (shapely.Polygon([(0, 0), (1, 1), (2, 2)]), "polygon 0 has no area"),
    ],
)
def test_polygons_are_checked(shape: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Polygons([shape])


def test_every_polygon_needs_a_name() -> None:
    with pytest.raises(DataError, match="1 names were given for 2 polygons"):
        Polygons([shapely.box(0, 0, 1, 1)] * 2, names=["a"])


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"type": "FeatureCollection", "features": [feature(RING, name="Gland"), feature(TWO)]}, ["Gland", "region 2"]),
        ([feature(RING, classification={"name": "Tumor"}), feature(TWO, name="b")], ["Tumor", "b"]),
        ([RING, TWO], ["region 1", "region 2"]),
        (feature(RING, name="A", classification={"name": "Tumor", "color": [200, 0, 0]}), ["A"]),
        (feature(RING, classification=None), ["region 1"]),
        ({"type": "Feature", "geometry": RING, "properties": None}, ["region 1"]),
        (RING, ["region 1"]),
    ],
)
def test_every_form_of_geojson_is_read(tmp_path: Path, content: Any, names: list[str]) -> None:
    polygons = Polygons.from_geojson(written(tmp_path, content), um_per_unit=0.5)
    assert polygons.names == tuple(names)
    assert polygons.areas_um2.tolist() == pytest.approx([196 / 4, 196.5 / 4][: len(names)])
    assert polygons.bounds_um[0].tolist() == [0, 0, 5, 10]


def test_geojson_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert len(Polygons.from_geojson(written(tmp_path, "\ufeff" + json.dumps(RING)), 1.0)) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not GeoJSON"),
        ("{", "is not GeoJSON"),
        ("[" * 100_000, "is not GeoJSON"),
        ("3", "can be used: 1 without a geometry"),
        ({"type": "FeatureCollection", "features": []}, "does not hold a polygon"),
        ({"type": "FeatureCollection"}, "can be used: 1 without a geometry"),
        ([feature({"type": "Point", "coordinates": [1, 2]})], "can be used: 1 of type Point"),
        (feature(None), "can be used: 1 without a geometry"),
        ({"name": "x"}, "can be used: 1 without a geometry"),
        ({"type": "Polygon"}, "1 with coordinates that are not those of a polygon"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "coordinates that are not those of a polygon"),
        (
            {"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [0, 1]]]},
            "coordinates that are not those of a polygon",
        ),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2]]]}, "coordinates that are not those of a polygon"),
        ({"type": "Polygon", "coordinates": []}, "polygon 0 is empty"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [1, 1], [0, 0]]]}', "polygon 0 has a coordinate"),
    ],
)
def test_bad_geojson_names_the_file(tmp_path: Path, content: Any, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=says) as caught:
        Polygons.from_geojson(path, 0.5)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.geojson cannot be read"):
        Polygons.from_geojson(tmp_path / "none.geojson", 0.5)
    with pytest.raises(DataError, match="cannot be read"):
        Polygons.from_geojson(tmp_path, 0.5)
    binary = tmp_path / "image.geojson"
    binary.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match=r"image\.geojson is not GeoJSON"):
        Polygons.from_geojson(binary, 0.5)


@pytest.mark.parametrize("scale", [0, -1, math.nan])
def test_geojson_needs_a_scale(tmp_path: Path, scale: float) -> None:
    with pytest.raises(DataError, match="um_per_unit"):
        Polygons.from_geojson(written(tmp_path, RING), scale)


# Label masks


def test_label_masks_know_their_shape() -> None:
    labels = np.array([[0, 5, 5, 0], [2, 5, 2, 2]], dtype=np.uint16)
    mask = LabelMask(labels, 100.0, 200.0, 0.5)
    assert mask.ids.tolist() == [2, 5]
    assert mask.areas_um2.tolist() == [0.75, 0.75]
    assert mask.bounds_um.tolist() == [[100, 200.5, 102, 201], [100.5, 200, 101.5, 201]]
    np.testing.assert_allclose(mask.centers_um, [[100 + 6.5 / 3 * 0.5, 200.75], [100 + 5.5 / 3 * 0.5, 200 + 2.5 / 6]])
    chosen = LabelMask(labels, 100.0, 200.0, 0.5, ids=[5])
    assert chosen.bounds_um.tolist() == [[100.5, 200, 101.5, 201]]
    assert len(LabelMask(np.zeros((3, 3), dtype=int), 0.0, 0.0, 1.0)) == 0


@pytest.mark.parametrize(
    ("labels", "ids", "says"),
    [
        (np.zeros((2, 2)), None, "whole numbers, not float64"),
        (np.zeros((2, 2), dtype=bool), None, "whole numbers, not bool"),
        (np.zeros(4, dtype=int), None, r"shape \(4,\)"),
        (np.zeros((0, 4), dtype=int), None, "is empty"),
        (np.array([[1, -1]]), None, "holds -1"),
        (np.array([[1, 2]]), [1, 3], "1 of the ids have no pixel in the label mask; the first is 3"),
        (np.array([[1, 0]]), [0], "the first is 0"),
        (np.array([[1, 2]]), [1.5], "ids must hold whole numbers"),
        (np.array([[1, 2]]), [[1]], "list of labels"),
    ],
)
def test_label_masks_are_checked(labels: Any, ids: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        LabelMask(labels, 0.0, 0.0, 1.0, ids)


def test_label_masks_need_a_corner_and_a_pitch() -> None:
    labels = np.ones((2, 2), dtype=int)
    with pytest.raises(DataError, match="pitch_um is 0"):
        LabelMask(labels, 0.0, 0.0, 0.0)
    with pytest.raises(DataError, match="y_um"):
        LabelMask(labels, 0.0, math.nan, 1.0)


# All kinds


def every_kind() -> list[Regions]:
    return [
        Disks([[1, 2], [3, 4], [5, 6]], [1, 2, 3]),
        Squares(1.0, 2.0, 3.0, [0, 1, 2], [3, 4, 5], angle_deg=30),
        Squares(1.0, 2.0, 3.0, [0, 1, 2], [3, 4, 5], 30, [[1, 0.01, 2], [0, 0.99, 3], [1e-3, 0, 1]]),
        Polygons([shapely.box(i, 0, 2 * i, 3) for i in (1, 2, 3)], names=["a", "b", "c"]),
        LabelMask(np.array([[1, 1, 2, 3], [0, 3, 3, 3]]), 1.0, 2.0, 3.0),
    ]


@pytest.mark.parametrize("regions", every_kind(), ids=repr)
def test_take_reorders_all_attributes(regions: Regions) -> None:
    for index in ([2, 0], [-1, 0, 0], [True, False, True], np.array([], dtype=int), []):
        part = regions.take(index)
        chosen = np.arange(3)[np.asarray(index, dtype=None if len(index) else int)]
        assert type(part) is type(regions)
        assert len(part) == len(chosen)
        assert np.array_equal(part.centers_um, regions.centers_um[chosen])
        assert np.array_equal(part.areas_um2, regions.areas_um2[chosen])
        assert np.array_equal(part.bounds_um, regions.bounds_um[chosen])
        if isinstance(part, Polygons):
            assert part.names == tuple("abc"[i] for i in chosen)
        if isinstance(part, LabelMask):
            assert part.ids.tolist() == [i + 1 for i in chosen]
    assert len(regions) == 3


@pytest.mark.parametrize("regions", every_kind(), ids=repr)
@pytest.mark.parametrize(
    ("index", "says"),
    [
        ([True, False], "a mask for 3 regions must have the shape"),
        ([3], "there are 3 regions"),
        ([-4], "there are 3 regions"),
        ([0.0], "whole numbers or booleans, not by float64"),
        ([[0]], "list of whole numbers"),
    ],
)
def test_a_wrong_index_is_an_error(regions: Regions, index: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        regions.take(index)


@pytest.mark.parametrize("regions", every_kind(), ids=repr)
def test_regions_can_be_pickled(regions: Regions) -> None:
    copy = pickle.loads(pickle.dumps(regions))  # noqa: S301
    grid = Grid(0.0, 0.0, 1.0, 12, 12)
    assert np.array_equal(copy.coverage(grid).toarray(), regions.coverage(grid).toarray())
    assert np.array_equal(copy.bounds_um, regions.bounds_um)


def test_classes_are_read_taken_and_united(tmp_path: Path) -> None:
    boxes = [shapely.box(0, 0, 10, 10), shapely.box(5, 0, 15, 10), shapely.box(40, 0, 50, 10), shapely.box(0, 0, 9, 9)]
    polygons = Polygons(boxes, classes=["tumour", "tumour", "tumour", None])
    assert polygons.take([3, 0]).classes == (None, "tumour")
    with pytest.warns(PixNetWarning, match="1 of 4 polygons have no class"):
        (whole,) = polygons.by_class().shapes
    assert whole.area == pytest.approx(250)
    assert polygons.take([0, 2]).by_class().names == ("tumour",)
    with pytest.raises(DataError, match="none of the 1 polygons has a class"):
        polygons.take([3]).by_class()
    with pytest.raises(DataError, match="1 classes were given for 4 polygons"):
        Polygons(boxes, classes=["tumour"])


def test_names_take_precedence_over_cell_numbers_and_these_over_classes(tmp_path: Path) -> None:
    geometry = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    known = [
        {"name": "A", "cell_id": 3, "classification": {"name": "fat"}},
        {"cell_id": 3, "classification": {"name": "fat"}},
        {"classification": "fat"},
        {"cell_id": "x"},
    ]
    features = [{"type": "Feature", "geometry": geometry, "properties": properties} for properties in known]
    (tmp_path / "a.geojson").write_text(json.dumps(features))
    polygons = Polygons.from_geojson(tmp_path / "a.geojson", 1.0)
    assert polygons.names == ("A", "cellid_000000003-1", "fat", "region 4")
    assert polygons.classes == ("fat", "fat", "fat", None)
