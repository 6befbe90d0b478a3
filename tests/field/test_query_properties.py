"""What holds for any field and any regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.field.conftest import FINEST, HALO, MPP, Build

from pixnet.field import ExpressionField, LinearHead
from pixnet.field.build.tile import TileImages
from pixnet.field.read.integral import integrate
from pixnet.regions import Disks, LabelMask, Polygons, Regions, Squares
from pixnet.slide import Slide

PITCH = FINEST * MPP
CHANNELS = 3
KINDS = ("rate", "mean", "sum")
SEEDS = st.integers(0, 11)

AnyField = Callable[[int], ExpressionField]

# Regions on background alone are among those drawn.
pytestmark = pytest.mark.filterwarnings("ignore::pixnet.errors.PixNetWarning")


def own_mean(images: TileImages) -> NDArray[np.float32]:
    """Return the mean colour of each pixel, and nothing of its surroundings."""
    core = images.near[HALO:-HALO, HALO:-HALO].astype(np.float32)
    height, width = (side // FINEST for side in core.shape[:2])
    return core.reshape(height, FINEST, width, FINEST, 3).mean(axis=(1, 3)).transpose(2, 0, 1)


def head_of(kind: Any, seed: int) -> LinearHead:
    rng = np.random.default_rng(seed)
    genes = ("A", "B", "other") if kind == "rate" else ("A", "B")
    weight, baseline = rng.uniform(0.01, 1, (CHANNELS, len(genes))), rng.uniform(0, 1, len(genes))
    if kind != "rate":
        weight *= rng.choice([-1, 1], weight.shape)
    return LinearHead(kind, genes, weight, baseline, "units of the test")


@pytest.fixture(scope="session")
def any_field(build: Build) -> AnyField:
    """Make a field by its seed: of any size, any head, with any places of background."""
    made: dict[int, ExpressionField] = {}

    def make(seed: int) -> ExpressionField:
        if seed not in made:
            rng = np.random.default_rng(seed)
            rgb = rng.integers(0, 256, (*rng.integers(150, 420, 2), 3)).astype(np.uint8)
            for top, left in rng.integers(0, 300, (rng.integers(3), 2)):
                rgb[top : top + 90, left : left + 90] = 244
            kind = KINDS[rng.integers(3)]
            slide = Slide.from_array(rgb, MPP, name=f"slide {seed}")
            mask = bool(rng.integers(2))
            made[seed] = build(kind, on=slide, latent=own_mean, head=head_of(kind, seed), core=64, tissue_mask=mask)
        return made[seed]

    return make


def sums(field: ExpressionField, regions: Regions) -> NDArray[np.float64]:
    """Return what is integrated before any head or mean: latent channels, valid area and background."""
    found = integrate(field._store, regions)
    return np.column_stack([found.latent, found.area, found.background])


def lies_on_slide(field: ExpressionField, regions: Regions) -> bool:
    """Return whether some of it does; the last pixels reach beyond the slide."""
    left, top, right, bottom = regions.bounds_um.T
    lattice = field.attributes.lattice
    return bool(((left < lattice.width_um) & (right > 0) & (top < lattice.height_um) & (bottom > 0)).any())


def assert_close(found: Any, wanted: Any, share: float) -> None:
    """Compare columns, each to a share of its largest absolute value."""
    wanted = np.asarray(wanted, np.float64)
    off = np.abs(np.asarray(found, np.float64) - wanted).max(axis=0)
    assert (off <= share * np.abs(wanted).max(axis=0) + 1e-300).all(), off / np.abs(wanted).max(axis=0)


@st.composite
def shapes(draw: st.DrawFn) -> shapely.Polygon:
    """Draw a blob with up to two holes, on the slide or across its border."""
    x, y, radius = draw(st.floats(0, 150)), draw(st.floats(0, 150)), draw(st.floats(2, 60))
    corners = draw(st.integers(3, 12))
    far = np.array(draw(st.lists(st.floats(0.3, 1), min_size=corners, max_size=corners))) * radius
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + draw(st.floats(0, 1))
    shape = shapely.Polygon(np.column_stack([x + far * np.cos(angle), y + far * np.sin(angle)]))
    for _ in range(draw(st.integers(0, 2))):
        hole = shapely.Point(x + draw(st.floats(-0.2, 0.2)) * radius, y).buffer(radius * draw(st.floats(0.02, 0.2)))
        shape = shape.difference(hole)
    return shape if shape.geom_type == "Polygon" else max(shape.geoms, key=lambda part: part.area)


@st.composite
def partitions(draw: st.DrawFn) -> tuple[Regions, Regions]:
    """Draw something, and the parts that it is cut into."""
    kind = draw(st.sampled_from(["lattice", "voronoi", "labels"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x, y, side, angle = (draw(st.floats(*ends)) for ends in ((5, 90), (5, 90), (4, 80), (-180, 180)))
    if kind == "lattice":
        n = draw(st.integers(1, 9))
        rows, cols = np.divmod(np.arange(n * n), n)
        return Squares(x, y, side, [0], [0], angle), Squares(x, y, side / n, rows, cols, angle)
    if kind == "labels":
        n = draw(st.integers(1, 30))
        mask = rng.integers(0, 9, (n, n))
        mask[0, 0] = 1
        return LabelMask((mask > 0).astype(int), x, y, side / n), LabelMask(mask, x, y, side / n)
    whole = draw(shapes())
    left, top, right, bottom = whole.bounds
    points = shapely.multipoints(rng.uniform((left, top), (right, bottom), (draw(st.integers(2, 12)), 2)))
    cells = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=whole))
    parts = []
    for cell in cells:
        polygons = [part for part in shapely.get_parts(whole.intersection(cell)) if part.geom_type == "Polygon"]
        if sum(part.area for part in polygons) > 0:
            parts.append(shapely.MultiPolygon(polygons))
    return Polygons([whole]), Polygons(parts)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, cut=partitions())
def test_parts_add_up_to_the_whole(any_field: AnyField, seed: int, cut: tuple[Regions, Regions]) -> None:
    field, (whole, parts) = any_field(seed), cut
    one, many = sums(field, whole), sums(field, parts)
    np.testing.assert_allclose(many.sum(axis=0), one[0], rtol=0, atol=1e-9 * max(np.abs(one).max(), 1))
    if one[0, CHANNELS] > 1e-6 and lies_on_slide(field, whole) and field.head.kind != "mean":
        # Values are float32, and those of a `sum` head may cancel: so it is their own sizes that count.
        (part,) = field.query_parts(whole)
        pieces = np.concatenate([part.values for part in field.query_parts(parts)]).astype(np.float64)
        assert (np.abs(pieces.sum(axis=0) - part.values[0]) <= 1e-5 * np.abs(pieces).sum(axis=0)).all()


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, shape=shapes())
def test_areas_are_those_of_shapely(any_field: AnyField, seed: int, shape: shapely.Polygon) -> None:
    field = any_field(seed)
    lattice = field.attributes.lattice
    # Where the slide ends within a pixel, only the share of it that is slide is known.
    right, bottom = (side // PITCH * PITCH for side in (lattice.width_um, lattice.height_um))
    shape = shape.intersection(shapely.box(-200, -200, right, bottom))
    assume(shape.area > 1e-6 and shape.geom_type == "Polygon")
    found = sums(field, Polygons([shape]))[0]
    # All of the slide is tissue or background. Their shares of a pixel are sixteenths, which float16 keeps as they are.
    wanted = shape.intersection(shapely.box(0, 0, right, bottom)).area
    np.testing.assert_allclose(found[CHANNELS:].sum(), wanted, rtol=1e-9, atol=1e-9)
    table = next(iter(field.query_parts(Polygons([shape, shapely.box(0, 0, 9, 9)]))))
    np.testing.assert_allclose(table.obs["area_um2"].iloc[0], shape.area, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, x=st.floats(15, 60), y=st.floats(15, 60), size=st.floats(0.5, 20), angle=st.floats(-720, 720))
def test_areas_have_closed_forms(any_field: AnyField, seed: int, x: float, y: float, size: float, angle: float) -> None:
    field = any_field(seed)  # of at least 75 x 75 um
    # The corner of the slide cuts off all but a quarter of the first disk.
    quarter, disk = sums(field, Disks([[0, 0], [x, y]], size))[:, CHANNELS:].sum(axis=1)
    assert quarter == pytest.approx(np.pi * size**2 / 16, rel=1e-9)
    assert disk == pytest.approx(np.pi * size**2 / 4, rel=1e-9)
    turn = np.deg2rad(angle)
    middle = size / 2 * np.array([np.cos(turn) - np.sin(turn), np.sin(turn) + np.cos(turn)])
    square = Squares(x - middle[0], y - middle[1], size, [0], [0], angle)
    assert sums(field, square)[0, CHANNELS:].sum() == pytest.approx(size**2, rel=1e-9)
    # One or the other of a checkerboard's colours: 4 of 9 pixels.
    labels = LabelMask(np.arange(9).reshape(3, 3) % 2, x - size / 2, y - size / 2, size / 3)
    assert sums(field, labels)[0, CHANNELS:].sum() == pytest.approx(size**2 * 4 / 9, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, shape=shapes(), diameter=st.floats(3, 30), kind=st.sampled_from(["polygon", "disk", "square"]))
def test_a_query_is_what_shapely_and_numpy_find_in_the_array(
    any_field: AnyField, seed: int, shape: shapely.Polygon, diameter: float, kind: str
) -> None:
    """The stored array in memory, and the area of each pixel in the region as shapely's intersection gives it."""
    field = any_field(seed)
    centre = shape.centroid
    box = shapely.box(centre.x, centre.y, centre.x + diameter, centre.y + diameter)
    regions: dict[str, tuple[Regions, shapely.Polygon]] = {
        "polygon": (Polygons([shape]), shape),
        "disk": (Disks([[centre.x, centre.y]], diameter), centre.buffer(diameter / 2, quad_segs=2048)),
        "square": (Squares(centre.x, centre.y, diameter, [0], [0]), box),
    }
    ours, outline = regions[kind]
    latent, valid = field.read()
    col, row = np.meshgrid(np.arange(field.grid.width), np.arange(field.grid.height))
    pixels = shapely.box(col * PITCH, row * PITCH, (col + 1) * PITCH, (row + 1) * PITCH)
    area = shapely.area(shapely.intersection(pixels, outline)) * valid
    assume(area.sum() > 1e-3 and lies_on_slide(field, ours))
    maps = np.einsum("chw,cm->hwm", latent.astype(float), field.W.astype(float)) + field.b
    wanted = np.einsum("hw,hwm->m", area, maps)
    bound = np.einsum("hw,hwm->m", area, np.abs(maps))
    if field.head.kind == "mean":
        wanted, bound = wanted / area.sum(), bound / area.sum()
    found = field.query(ours, ["A", "B"]).X[0]
    assert (np.abs(found - wanted[:2]) <= (1e-5 if kind == "disk" else 1e-6) * bound[:2]).all()


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, down=st.integers(0, 20), across=st.integers(0, 20), shape=shapes())
def test_moving_slide_and_regions_together_changes_nothing(
    build: Build, seed: int, down: int, across: int, shape: shapely.Polygon
) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (300, 280, 3)).astype(np.uint8)
    moved = np.full((300 + down * FINEST, 280 + across * FINEST, 3), 255, np.uint8)
    moved[down * FINEST :, across * FINEST :] = rgb
    shape = shape.intersection(shapely.box(0, 0, 140, 150))
    assume(shape.area > 0.01 and shape.geom_type == "Polygon")
    step = np.array([across, down]) * PITCH
    found = []
    for picture, by in ((rgb, np.zeros(2)), (moved, step)):
        kind = KINDS[seed % 3]
        field = build(kind, on=Slide.from_array(picture, MPP), latent=own_mean, head=head_of(kind, seed), core=128)
        together = [Polygons([shapely.transform(shape, lambda xy, by=by: xy + by)])]
        together += [Disks([[70, 75] + by], 55.5), Squares(*([31.7, 20.3] + by), 7.7, [0, 3], [2, 5], 12.0)]  # noqa: RUF005
        found.append(np.concatenate([sums(field, regions) for regions in together]))
    assert_close(found[1], found[0], 1e-9)


MANY = Disks(np.random.default_rng(5).uniform(-10, 150, (60, 2)), np.linspace(1, 70, 60))
MIDDLES = shapely.points(MANY.centers_um[:20])
ALL: dict[str, Regions] = {
    "disks": MANY,
    "squares": Squares.tiling(0, 0, 150, 150, 7.3),
    "tilted": Squares(60, 0, 5.3, *np.divmod(np.arange(300), 15), angle_deg=31),
    "polygons": Polygons(list(shapely.difference(shapely.buffer(MIDDLES, 20), shapely.buffer(MIDDLES, 9)))),
    "labels": LabelMask(np.random.default_rng(6).integers(0, 40, (60, 50)), 3.3, 4.4, 2.7),
}


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    kind=st.sampled_from(list(ALL)),
    block=st.sampled_from([1, 20_000, 1 << 22]),
    threads=st.integers(1, 5),
    entries=st.sampled_from([50, 3000, 1 << 22]),
    order=st.randoms(use_true_random=False),
)
def test_blocks_threads_and_order_change_nothing(
    any_field: AnyField, seed: int, kind: str, block: int, threads: int, entries: int, order: Any
) -> None:
    field, regions = any_field(seed), ALL[kind]
    plain = sums(field, regions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pixnet.field.read.integral._THREADS", threads)
        np.testing.assert_array_equal(sums(field, regions), plain)
        patch.setattr("pixnet.field.store._BLOCK_VALUES", block)
        patch.setattr("pixnet.field.read.integral._ENTRIES", entries)
        assert_close(sums(field, regions), plain, 1e-12)
    rows = list(range(len(regions)))
    order.shuffle(rows)
    assert_close(sums(field, regions.take(rows)), plain[rows], 1e-12)
