"""Compare areas with closed forms, numerical integrals and shapely, none of which the package uses for them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.integrate import quad

from pixnet.grid import Grid
from pixnet.regions import Disks, LabelMask, Polygons, Regions, Squares
from pixnet.regions.coverage import BATCH, batches, counted

RADII = st.floats(math.log(0.5), math.log(100)).map(math.exp)
PITCHES = st.floats(math.log(0.25), math.log(8)).map(math.exp)
PHASES = st.floats(-1, 1)


def triangle_in_disk(a: NDArray[np.float64], b: NDArray[np.float64], radius: float) -> float:
    """Signed area of triangle (0, a, b) inside the circle around 0: the textbook sum over the edge's three parts."""
    step = b - a
    # The line a + t * step is inside the circle between two values of t, if at all.
    root = (a @ step) ** 2 - (step @ step) * (a @ a - radius**2)
    enter = leave = 0.0
    if root > 0:
        enter, leave = (min(max((-(a @ step) + side * math.sqrt(root)) / (step @ step), 0.0), 1.0) for side in (-1, 1))
    p, q = a + enter * step, a + leave * step

    def sector(u: NDArray[np.float64], v: NDArray[np.float64]) -> float:
        return radius**2 / 2 * math.atan2(float(u[0] * v[1] - u[1] * v[0]), float(u @ v))

    return sector(a, p) + float(p[0] * q[1] - p[1] * q[0]) / 2 + sector(q, b)


def disk_in_box(center: tuple[float, float], radius: float, box: tuple[float, float, float, float]) -> float:
    """Area of a disk inside a rectangle, from its four edges."""
    left, top, right, bottom = box
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - center
    return sum(triangle_in_disk(corners[i], corners[(i + 1) % 4], radius) for i in range(4))


def disk_in_pixel(center: tuple[float, float], radius: float, box: tuple[float, float, float, float]) -> float:
    """The same by numerical integration over x = radius * sin(t), cut where the integrand is not smooth."""
    left, top, right, bottom = box[0] - center[0], box[1] - center[1], box[2] - center[0], box[3] - center[1]

    def height(t: float) -> float:
        half = radius * math.cos(t)
        return max(min(bottom, half) - max(top, -half), 0.0)

    kinks = [side * math.acos(abs(y) / radius) for y in (top, bottom) if abs(y) < radius for side in (-1, 1)]
    start, stop = (math.asin(min(max(x / radius, -1.0), 1.0)) for x in (left, right))
    cuts = sorted({start, stop, *(t for t in kinks if start < t < stop)})
    # The ends of the disk, where the slope of its height over x is infinite, are smooth in t.
    return sum(
        quad(lambda t: height(t) * radius * math.cos(t), low, high, epsabs=1e-14, epsrel=1e-13)[0]
        for low, high in pairwise(cuts)
    )


def pixel_box(grid: Grid, pixel: int) -> tuple[float, float, float, float]:
    row, col = divmod(int(pixel), grid.width)
    return grid.crop(row, col, 1, 1).bounds_um


def grid_around(regions: Regions, pitch: float, phase_x: float, phase_y: float) -> Grid:
    """A grid that holds all regions, shifted by a part of a pixel."""
    left, top = regions.bounds_um[:, :2].min(axis=0)
    right, bottom = regions.bounds_um[:, 2:].max(axis=0)
    x_um, y_um = left - (1 + phase_x) * pitch, top - (1 + phase_y) * pitch
    return Grid(x_um, y_um, pitch, math.ceil((bottom - y_um) / pitch) + 1, math.ceil((right - x_um) / pitch) + 1)


def check_form(areas: sparse.csr_array[np.float64], regions: Regions, grid: Grid) -> None:
    assert areas.shape == (len(regions), grid.size)
    assert areas.dtype == np.float64
    assert areas.has_canonical_format
    assert (areas.data > 0).all()
    assert (areas.data <= grid.pixel_area_um2 * (1 + 1e-15)).all()


def check_against_shapely(regions: Regions, shapes: list[shapely.Geometry], grid: Grid) -> None:
    """Compare each row with the shape inside the grid, and each entry with the shape inside the pixel."""
    areas = regions.coverage(grid)
    check_form(areas, regions, grid)
    inside = shapely.area(shapely.intersection(shapes, shapely.box(*grid.bounds_um)))
    np.testing.assert_allclose(areas.sum(axis=1), inside, rtol=1e-9, atol=1e-12 * grid.pixel_area_um2)
    pixels = shapely.box(*np.array([pixel_box(grid, i) for i in range(grid.size)]).T)
    expected = shapely.area(shapely.intersection(np.array(shapes)[:, None], pixels))
    np.testing.assert_allclose(areas.toarray(), expected, rtol=0, atol=1e-10 * grid.pixel_area_um2)


# Disks


@settings(deadline=None)
@given(RADII, PITCHES, PHASES, PHASES, st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_disk_has_its_area(r: float, pitch: float, dx: float, dy: float, x: float, y: float) -> None:
    disk = Disks([[x, y]], 2 * r)
    grid = grid_around(disk, pitch, dx, dy)
    areas = disk.coverage(grid)
    check_form(areas, disk, grid)
    assert areas.sum() == pytest.approx(math.pi * r**2, rel=1e-9)


@settings(deadline=None)
@given(RADII, PITCHES, st.floats(-1.2, 1.2), st.floats(-1.2, 1.2), st.integers(1, 20), st.integers(1, 20))
def test_a_disk_is_clipped_to_the_grid(r: float, pitch: float, x: float, y: float, height: int, width: int) -> None:
    grid = Grid(3.0, -5.0, pitch, height, width)
    left, top, right, bottom = grid.bounds_um
    center = ((left + right) / 2 + x * (width * pitch / 2 + r), (top + bottom) / 2 + y * (height * pitch / 2 + r))
    disk = Disks([center], 2 * r)
    expected = disk_in_box(center, r, grid.bounds_um)
    assert disk.coverage(grid).sum() == pytest.approx(expected, rel=1e-9, abs=1e-11 * r**2)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 12), st.floats(1.5, 8), PHASES, PHASES)
@example(r=2.0, pitch=4.0, dx=2.0**-23, dy=0.0)  # a sliver of the disk is in the next pixel
def test_every_pixel_of_a_disk_is_right(r: float, pitch: float, dx: float, dy: float) -> None:
    center = (12.5, -7.25)
    disk = Disks([center], 2 * r)
    grid = grid_around(disk, pitch, dx, dy)
    areas = disk.coverage(grid).toarray()[0]
    expected = [disk_in_pixel(center, r, pixel_box(grid, i)) for i in range(grid.size)]
    np.testing.assert_allclose(areas, expected, rtol=1e-11, atol=1e-12)


def test_pixels_inside_a_disk_are_fully_covered() -> None:
    grid = Grid(0.0, 0.0, 0.3, 100, 100)
    areas = Disks([[14.9, 15.2]], 20.0).coverage(grid).toarray().reshape(grid.shape)
    edges = np.arange(101) * 0.3
    far_x = np.maximum(abs(edges[:-1] - 14.9), abs(edges[1:] - 14.9))
    far_y = np.maximum(abs(edges[:-1] - 15.2), abs(edges[1:] - 15.2))
    whole = np.hypot(far_x[None, :], far_y[:, None]) < 10 - 1e-9
    assert whole.sum() > 3000
    assert (areas[whole] == grid.pixel_area_um2).all()
    assert (areas[~whole] < grid.pixel_area_um2).all()


def test_a_tiny_disk_covers_part_of_one_pixel() -> None:
    areas = Disks([[20.1, 12.3]], 1e-3).coverage(Grid(0.0, 0.0, 8.0, 5, 5))
    assert areas.indices.tolist() == [1 * 5 + 2]
    assert areas.data[0] == pytest.approx(math.pi * 0.25e-6, rel=1e-12)


@pytest.mark.parametrize("center", [(4.0, 4.0), (3.0, 3.0), (4.0, 3.0)])
def test_a_disk_may_touch_the_lines(center: tuple[float, float]) -> None:
    grid = Grid(0.0, 0.0, 2.0, 5, 5)
    areas = Disks([center], 2.0).coverage(grid)
    assert areas.sum() == pytest.approx(math.pi, rel=1e-14)
    # Cells that it only touches are not listed.
    assert len(areas.data) == (2 if center[0] % 2 == 0 else 1) * (2 if center[1] % 2 == 0 else 1)
    np.testing.assert_allclose(areas.data, math.pi / len(areas.data), rtol=1e-14)


def test_the_widest_disk_on_the_finest_grid() -> None:
    disk = Disks([[5012.34, 77.7]], 1000.0)
    grid = Grid(4500.1, -430.0, 0.25, 4100, 4100)
    areas = disk.coverage(grid)
    check_form(areas, disk, grid)
    assert areas.sum() == pytest.approx(math.pi * 500**2, rel=1e-12)
    boundary = np.flatnonzero(areas.data < grid.pixel_area_um2)
    assert 4 * 4000 * 0.9 < len(boundary) < 4 * 4000 * 1.1
    for entry in boundary[:: len(boundary) // 50]:
        expected = disk_in_pixel((5012.34, 77.7), 500.0, pixel_box(grid, areas.indices[entry]))
        # The integrator's own pixel corners are rounded at 1e-12 um.
        assert areas.data[entry] == pytest.approx(expected, abs=2e-12)


def test_many_disks_are_the_disks_one_by_one() -> None:
    rng = np.random.default_rng(1)
    disks = Disks(rng.uniform(-20, 120, (200, 2)), rng.uniform(1, 60, 200))
    grid = Grid(0.0, 0.0, 1.5, 60, 70)
    together = disks.coverage(grid).toarray()
    for i in range(len(disks)):
        assert np.array_equal(together[[i]], disks.take([i]).coverage(grid).toarray())


def test_a_disk_far_from_everything_has_no_entries() -> None:
    areas = Disks([[1e300, 0.0], [0.0, -1e300], [1e9, 1e9]], 100.0).coverage(Grid(0.0, 0.0, 2.0, 10, 10))
    assert areas.shape == (3, 100)
    assert areas.nnz == 0


# Squares


def corners(squares: Squares) -> list[shapely.Geometry]:
    """The definition: corner at origin + R @ (c * side, r * side), then the perspective."""
    angle = math.radians(squares.angle_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    places = np.stack([squares.cols, squares.rows], axis=1)[:, None, :] + unit
    points = (places * squares.side_um) @ turn.T + [squares.x_um, squares.y_um]
    if squares.perspective is not None:
        seen = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2) @ squares.perspective.T
        points = seen[..., :2] / seen[..., 2:]
    return [shapely.Polygon(corner) for corner in points]


PERSPECTIVE = np.array([[1.01, 0.02, 3.0], [-0.015, 0.99, -1.0], [1.5e-4, -1e-4, 1.0]])


@settings(deadline=None)
@given(
    st.floats(0.3, 10),
    st.floats(0.7, 5),
    st.one_of(st.floats(-400, 400), st.sampled_from([0, 90, 180, 270, -90, 45, 1e-9])),
    st.floats(-5, 25),
    st.floats(-5, 25),
)
def test_squares_against_shapely(side: float, pitch: float, angle: float, x: float, y: float) -> None:
    squares = Squares(x, y, side, rows=[0, 0, 1, -2, 3], cols=[0, 1, 0, -1, 3], angle_deg=angle)
    check_against_shapely(squares, corners(squares), Grid(1.0, 2.0, pitch, 8, 9))


@settings(deadline=None)
@given(st.floats(0.3, 10), st.floats(0.7, 5), st.floats(-400, 400), st.floats(-5, 25), st.floats(-5, 25))
def test_squares_seen_with_perspective_against_shapely(
    side: float, pitch: float, angle: float, x: float, y: float
) -> None:
    squares = Squares(x, y, side, [0, 0, 1, -2, 3], [0, 1, 0, -1, 3], angle, PERSPECTIVE)
    check_against_shapely(squares, corners(squares), Grid(1.0, 2.0, pitch, 8, 9))


@settings(deadline=None)
@given(st.floats(0.5, 30), PITCHES, st.floats(-90, 90), st.floats(0, 5e4), st.floats(0, 5e4))
def test_squares_have_their_area(side: float, pitch: float, angle: float, x: float, y: float) -> None:
    for turn in (0.0, angle):
        squares = Squares(x, y, side, rows=[0, 1], cols=[2, 2], angle_deg=turn)
        areas = squares.coverage(grid_around(squares, pitch, 0.3, 0.1))
        np.testing.assert_allclose(areas.sum(axis=1), side**2, rtol=1e-9)


def test_squares_that_fit_the_grid_have_no_slivers() -> None:
    squares = Squares.tiling(0.1, 0.1, 80.1, 80.1, 0.8)
    areas = squares.coverage(Grid(0.1, 0.1, 0.1, 800, 800))
    assert (np.diff(areas.indptr) == 64).all()
    assert (areas.data == Grid(0.0, 0.0, 0.1, 1, 1).pixel_area_um2).all()


@pytest.mark.parametrize("angle", [0.0, 12.5])
@pytest.mark.parametrize("perspective", [None, PERSPECTIVE])
def test_a_tiling_covers_each_pixel_once(angle: float, perspective: NDArray[np.float64] | None) -> None:
    rows, cols = np.divmod(np.arange(60 * 60), 60)
    squares = Squares(30.0, -40.0, 2.7, rows, cols, angle, perspective)
    grid = Grid(60.0, 20.0, 1.9, 15, 14)
    total = squares.coverage(grid).sum(axis=0)
    np.testing.assert_allclose(total, grid.pixel_area_um2, rtol=1e-12)


# Polygons


@st.composite
def stars(draw: st.DrawFn) -> shapely.Polygon:
    """Star-shaped outlines with some star-shaped holes, some of their corners on whole numbers."""
    n = draw(st.integers(3, 12))
    radii = draw(st.lists(st.floats(4, 9), min_size=n, max_size=n))
    at = np.array([draw(st.floats(-3, 20)), draw(st.floats(-3, 20))])
    angles = (np.arange(n) + draw(st.floats(0, 1))) * 2 * math.pi / n
    outline = at + np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Half of the outlines are on lines of the grid, where a careless rasteriser counts twice or not at all.
    if draw(st.booleans()):
        outline = np.rint(outline)
    hole_angles = angles[::-1] if draw(st.booleans()) else angles
    hole = at + 1.2 * np.stack([np.cos(hole_angles), np.sin(hole_angles)], axis=1)
    shape = shapely.Polygon(outline)
    if not shape.is_valid or shape.area < 1:
        shape = shapely.box(*(at - 5), *(at + 5))
    return shapely.Polygon(shape.exterior, [hole]) if shape.contains_properly(shapely.Polygon(hole)) else shape


@settings(deadline=None)
@given(stars(), st.sampled_from([0.5, 1.0, 1.7, 8.0]), st.sampled_from([0.0, 0.3]))
def test_polygons_with_holes_against_shapely(shape: shapely.Polygon, pitch: float, phase: float) -> None:
    side = math.ceil(16 / pitch)
    check_against_shapely(Polygons([shape]), [shape], Grid(phase, phase, pitch, side, side))


@settings(deadline=None, max_examples=30)
@given(st.lists(stars(), min_size=2, max_size=3), stars())
def test_multipolygons_against_shapely(parts: list[shapely.Polygon], other: shapely.Polygon) -> None:
    union = shapely.union_all(parts)
    check_against_shapely(Polygons([other, union, other]), [other, union, other], Grid(0.0, 0.0, 1.3, 14, 13))


def test_a_polygon_around_the_grid_covers_it() -> None:
    grid = Grid(10.0, 10.0, 2.0, 7, 9)
    ring = shapely.box(-1000, -1000, 1000, 1000) - shapely.box(-900, -900, 5, 900)
    areas = Polygons([ring, shapely.box(500, 0, 600, 100), shapely.box(-50, 11, 100, 13)]).coverage(grid)
    assert (areas[[0]].toarray() == grid.pixel_area_um2).all()
    assert np.diff(areas.indptr).tolist() == [63, 0, 18]
    assert areas[[2]].sum() == pytest.approx(2 * 18, rel=1e-14)


@settings(deadline=None)
@given(stars(), PITCHES, st.floats(0, 5e4), st.floats(0, 5e4), st.floats(0.1, 20))
def test_polygons_have_their_area(shape: shapely.Polygon, pitch: float, x: float, y: float, scale: float) -> None:
    regions = Polygons([shapely.transform(shape, lambda xy: xy * scale + [x, y])])
    areas = regions.coverage(grid_around(regions, max(pitch, scale / 10), 0.4, 0.2))
    np.testing.assert_allclose(areas.sum(axis=1), regions.areas_um2, rtol=1e-9)


def test_a_fine_polygon_comes_close_to_its_disk() -> None:
    turns = np.linspace(0, 2 * math.pi, 20000, endpoint=False)
    outline = [30.3, 29.1] + 25 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    grid = Grid(0.0, 0.0, 1.0, 60, 60)
    polygon = Polygons([shapely.Polygon(outline)]).coverage(grid).toarray()
    disk = Disks([[30.3, 29.1]], 50.0).coverage(grid).toarray()
    # The outline of n sides is 25 * (pi / n)^2 / 2 = 3e-7 um inside the circle.
    np.testing.assert_allclose(polygon, disk, rtol=0, atol=1e-6)


# Label masks


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 3), st.floats(0.4, 6), st.floats(-3, 8), st.floats(-3, 8))
def test_label_masks_against_their_pixels(seed: int, pixel: float, pitch: float, x: float, y: float) -> None:
    labels = np.random.default_rng(seed).choice([0, 0, 3, 7, 1000], (9, 11))
    labels[:2, 0] = 3, 7
    mask = LabelMask(labels, x, y, pixel, ids=[7, 3])
    grid = Grid(0.5, -0.5, pitch, 6, 5)
    areas = mask.coverage(grid)
    check_form(areas, mask, grid)
    rows, cols = np.divmod(np.arange(99), 11)
    pixels = Squares(x, y, pixel, rows, cols).coverage(grid).toarray()
    expected = [pixels[labels.ravel() == label].sum(axis=0) for label in (7, 3)]
    np.testing.assert_allclose(areas.toarray(), expected, rtol=1e-12, atol=1e-14)


def test_a_label_mask_on_a_fitting_grid_counts_pixels() -> None:
    labels = np.random.default_rng(3).integers(0, 5, (40, 60))
    areas = LabelMask(labels, 10.0, 20.0, 0.5).coverage(Grid(10.0, 20.0, 2.0, 10, 15)).toarray()
    for label in (1, 2, 3, 4):
        count = (labels == label).reshape(10, 4, 15, 4).sum(axis=(1, 3))
        assert np.array_equal(areas[label - 1].reshape(10, 15), count * 0.25)


# All kinds


def every_kind() -> list[Regions]:
    rng = np.random.default_rng(5)
    star = shapely.Polygon([(3, 4), (19, 7), (22, 30), (11, 14), (2, 25)], [[(8, 8), (12, 9), (9, 11)]])
    return [
        Disks(rng.uniform(0, 40, (6, 2)), rng.uniform(1, 30, 6)),
        Squares(1.3, 2.1, 5.5, [0, 1, 4], [3, 2, 1]),
        Squares(1.3, 2.1, 5.5, [0, 1, 4], [3, 2, 1], angle_deg=20),
        Squares(1.3, 2.1, 5.5, [0, 1, 4], [3, 2, 1], 20, PERSPECTIVE),
        Polygons([star, shapely.box(-5, -5, 10, 50)]),
        LabelMask(rng.integers(0, 4, (30, 25)), 2.5, 3.5, 0.7),
    ]


def shifted(regions: Regions, by: float) -> Regions:
    if isinstance(regions, Disks):
        return Disks(regions.centers_um + by, regions.diameters_um)
    if isinstance(regions, Squares):
        x, y = regions.x_um + by, regions.y_um + by
        perspective, move = regions.perspective, np.array([[1, 0, by], [0, 1, by], [0, 0, 1]])
        if perspective is not None:
            perspective = move @ perspective @ np.linalg.inv(move)
        return Squares(x, y, regions.side_um, regions.rows, regions.cols, regions.angle_deg, perspective)
    if isinstance(regions, Polygons):
        return Polygons(shapely.transform(regions.shapes, lambda xy: xy + by))
    assert isinstance(regions, LabelMask)
    return LabelMask(regions.labels, regions.x_um + by, regions.y_um + by, regions.pitch_um)


@pytest.mark.parametrize("regions", every_kind(), ids=repr)
@pytest.mark.parametrize("by", [17, 40000])
def test_moving_regions_and_grid_together_changes_nothing(regions: Regions, by: int) -> None:
    pitch = 1.25
    still = regions.coverage(Grid(0.25, 0.5, pitch, 24, 26)).toarray()
    moved = shifted(regions, by * pitch).coverage(Grid(0.25 + by * pitch, 0.5 + by * pitch, pitch, 24, 26)).toarray()
    np.testing.assert_allclose(moved, still, rtol=0, atol=1e-9)


@pytest.mark.parametrize("regions", every_kind(), ids=repr)
def test_a_crop_of_the_grid_sees_its_part(regions: Regions) -> None:
    grid = Grid(0.25, 0.5, 1.25, 24, 26)
    whole = regions.coverage(grid).toarray().reshape(-1, 24, 26)
    part = regions.coverage(grid.crop(5, 3, 9, 11)).toarray().reshape(-1, 9, 11)
    np.testing.assert_allclose(part, whole[:, 5:14, 3:14], rtol=0, atol=1e-12)


@pytest.mark.parametrize("regions", every_kind(), ids=repr)
def test_fine_pixels_add_up_to_coarse_ones(regions: Regions) -> None:
    coarse = regions.coverage(Grid(0.25, 0.5, 4.0, 8, 8)).toarray().reshape(-1, 8, 8)
    fine = regions.coverage(Grid(0.25, 0.5, 0.5, 64, 64)).toarray().reshape(-1, 8, 8, 8, 8)
    np.testing.assert_allclose(fine.sum(axis=(2, 4)), coarse, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("regions", every_kind(), ids=repr)
def test_taken_regions_have_the_same_rows(regions: Regions) -> None:
    grid = Grid(0.0, 0.0, 2.0, 20, 20)
    index = np.arange(len(regions))[::-1]
    areas = regions.coverage(grid).toarray()
    np.testing.assert_allclose(regions.take(index).coverage(grid).toarray(), areas[index], rtol=1e-14, atol=1e-14)
    assert regions.take([]).coverage(grid).shape == (0, grid.size)
    assert regions.coverage(Grid(0.0, 0.0, 2.0, 0, 0)).shape == (len(regions), 0)


def test_the_parts_of_a_polygon_add_up_to_it() -> None:
    whole = shapely.Polygon([(3.3, 4.1), (39.7, 7.2), (42.2, 30.9), (31.8, 18.8), (2.4, 25.5)])
    rows, cols = np.divmod(np.arange(36), 6)
    tiles = corners(Squares(-10.0, 5.0, 9.7, rows, cols, angle_deg=-17.0))
    parts = [part for part in shapely.intersection(whole, tiles) if isinstance(part, shapely.Polygon) and part.area > 0]
    grid = Grid(0.0, 0.0, 0.9, 40, 50)
    total = Polygons(parts).coverage(grid).sum(axis=0)
    expected = Polygons([whole]).coverage(grid).sum(axis=0)
    assert len(parts) > 9
    np.testing.assert_allclose(total, expected, rtol=1e-9, atol=1e-11)
    assert total.sum() == pytest.approx(expected.sum(), rel=1e-12)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 100))
def test_batches_hold_every_item_once(sizes: list[int], limit: int) -> None:
    parts = list(batches(np.array(sizes, dtype=np.int64), limit))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(sizes)))
    assert all(sum(sizes[part]) <= limit or part.stop - part.start == 1 for part in parts)
    assert counted(np.array(sizes, dtype=np.int64)).tolist() == [i for size in sizes for i in range(size)]


def test_results_do_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(0.25, 0.5, 1.25, 24, 26)
    whole = [regions.coverage(grid) for regions in every_kind()]
    defaults = batches.__defaults__
    assert defaults == (BATCH,)
    monkeypatch.setattr(batches, "__defaults__", (40,))
    for regions, expected in zip(every_kind(), whole, strict=True):
        areas = regions.coverage(grid)
        assert np.array_equal(areas.indptr, expected.indptr)
        assert np.array_equal(areas.indices, expected.indices)
        np.testing.assert_allclose(areas.data, expected.data, rtol=1e-13)
