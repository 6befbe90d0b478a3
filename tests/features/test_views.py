from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixnet.features.views import Symmetry, View, jitter_stain
from pixnet.grid import Box, Lattice
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.glass import Glass

ALL = [Symmetry.from_index(index) for index in range(8)]


def lattice_of(sample: Sample) -> Lattice:
    return Lattice(sample.slide.width_um, sample.slide.height_um, 1.0, 32, 32)


def turned_slide(sample: Sample, symmetry: Symmetry) -> Slide:
    slide = sample.slide
    rgb, _ = slide.read_box(Box(0, 0, *slide.shape), 1.0)
    return Slide.from_array(np.ascontiguousarray(symmetry.apply(rgb)), 1.0)


def turned_disks(disks: Disks, symmetry: Symmetry, height: float, width: float) -> Disks:
    x, y = disks.centers_um.T
    if symmetry.transpose:
        x, y, height, width = y, x, width, height
    if symmetry.flip_rows:
        y = height - y
    if symmetry.flip_cols:
        x = width - x
    return Disks(np.stack([x, y], axis=1), disks.diameters_um)


def test_there_are_eight_symmetries_and_they_form_the_group() -> None:
    array = np.arange(12).reshape(3, 4)
    results = [symmetry.apply(array) for symmetry in ALL]
    assert len({(r.shape, r.tobytes()) for r in results}) == 8
    square = np.arange(9).reshape(3, 3)
    images = {symmetry.apply(square).tobytes() for symmetry in ALL}
    assert all(second.apply(first.apply(square)).tobytes() in images for first in ALL for second in ALL)
    assert np.rot90(square).tobytes() in images


boxes = st.builds(Box, st.integers(-9, 20), st.integers(-9, 20), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(boxes, st.integers(1, 30), st.integers(1, 30), st.integers(0, 7))
def test_box_and_original_undo_each_other(box: Box, height: int, width: int, index: int) -> None:
    symmetry = Symmetry.from_index(index)
    assert symmetry.original(symmetry.box(box, height, width), height, width) == box
    assert symmetry.box(symmetry.original(box, height, width), height, width) == box


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 7), st.data())
def test_a_box_of_the_turned_array_shows_its_original(index: int, data: st.DataObject) -> None:
    symmetry = Symmetry.from_index(index)
    array = np.arange(11 * 17).reshape(11, 17)
    row, col = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 15))
    box = Box(row, col, data.draw(st.integers(1, 11 - row)), data.draw(st.integers(1, 17 - col)))
    there = symmetry.box(box, 11, 17)
    cut = array[box.row : box.row + box.height, box.col : box.col + box.width]
    turned = symmetry.apply(array)[there.row : there.row + there.height, there.col : there.col + there.width]
    assert np.array_equal(symmetry.apply(cut), turned)


@pytest.mark.parametrize("index", range(8))
def test_reading_a_view_is_turning_the_read(samples: list[Sample], index: int) -> None:
    sample, symmetry = samples[0], Symmetry.from_index(index)
    view = View(sample.slide, lattice_of(sample), symmetry)
    turned = turned_slide(sample, symmetry)
    assert view.shape == turned.shape
    height, width = view.shape
    # Within, at the corner, and beyond the edge.
    for box in (Box(40, 72, 50, 33), Box(0, 0, 20, 30), Box(-15, width - 20, 31, 47), Box(height - 9, -9, 40, 30)):
        found = view.read(box)
        assert np.array_equal(found, turned.read_box(box, 1.0)[0])
        assert found.flags.c_contiguous


@pytest.mark.parametrize("zoom", [2, 4])
@pytest.mark.parametrize("index", range(8))
def test_a_coarser_view_shows_the_same_places(samples: list[Sample], index: int, zoom: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (301, 427, 3)).astype(np.uint8)
    sample = dataclasses.replace(samples[0], slide=Slide.from_array(rgb, 1.0))
    view = View(sample.slide, Lattice(427.0, 301.0, 1.0, 64, 64, zoom), Symmetry.from_index(index))
    for row, col, height, width in ((8, 24, 16, 12), (-4, -4, 16, 16), (40, 60, 30, 50)):
        near = view.read(Box(zoom * row, zoom * col, zoom * height, zoom * width)).astype(np.float64)
        expected = near.reshape(height, zoom, width, zoom, 3).mean(axis=(1, 3))
        # Pixels across the slide's edge are averaged over their part on the slide.
        difference = np.abs(view.read(Box(row, col, height, width), zoom) - expected).max(axis=2)
        assert (difference <= 0.51).mean() > 0.9


@pytest.mark.parametrize("index", range(8))
def test_coverage_of_a_view_is_coverage_on_the_turned_slide(samples: list[Sample], index: int) -> None:
    sample, symmetry = samples[0], Symmetry.from_index(index)
    lattice, finest = lattice_of(sample), 4
    view = View(sample.slide, lattice, symmetry)
    height, width = (side // finest for side in view.shape)
    turned = Lattice(float(view.shape[1]), float(view.shape[0]), 1.0, 32, 32).grid(finest)
    assert isinstance(sample.regions, Disks)
    regions = turned_disks(sample.regions, symmetry, sample.slide.height_um, sample.slide.width_um)
    for want in (Box(8, 11, 20, 26), Box(0, 0, height, width)):
        found = view.coverage(sample.regions, want, finest).toarray()
        expected = regions.coverage(turned.crop(want.row, want.col, want.height, want.width)).toarray()
        assert found.shape == (len(regions), want.height * want.width)
        assert np.allclose(found, expected, atol=1e-6)
        assert found.sum() > 0


def test_pixels_beyond_the_slide_do_not_count(samples: list[Sample]) -> None:
    """A slide that ends within a latent pixel, and a disk over its edge."""
    rgb, _ = samples[0].slide.read_box(Box(0, 0, 98, 99), 1.0)
    slide = Slide.from_array(rgb, 1.0)
    sample = Sample("edge", slide, Disks([[99.0, 50.0], [40.0, 40.0]], 20.0), samples[0].take([0, 1]).counts)
    lattice = Lattice(slide.width_um, slide.height_um, 1.0, 32, 32)
    for index in range(8):
        view = View(sample.slide, lattice, Symmetry.from_index(index))
        height, width = (side // 2 for side in view.shape)
        area = view.coverage(sample.regions, Box(-5, -5, height + 10, width + 10), 2).sum(axis=1)
        # The last column of pixels, 98 to 100 um, is half within the slide: its pixels count by half.
        assert area[1] == pytest.approx(np.pi * 100, rel=1e-6)
        assert area[0] == pytest.approx(np.pi * 50, rel=0.01)


@pytest.mark.parametrize("index", range(8))
def test_place_returns_where_a_box_of_the_slide_is(samples: list[Sample], index: int) -> None:
    view = View(samples[0].slide, lattice_of(samples[0]), Symmetry.from_index(index))
    plain = View(samples[0].slide, lattice_of(samples[0]))
    box = Box(13, 57, 40, 20)
    assert np.array_equal(view.read(view.place(box)), view.symmetry.apply(plain.read(box)))


def test_jitter_by_one_changes_nothing() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.abs(jitter_stain(rgb, (1.0, 1.0, 1.0)).astype(int) - rgb).max() <= 1


def test_stronger_stain_is_darker_and_white_stays_white() -> None:
    rgb = np.array([[[255, 255, 255], [180, 120, 190], [230, 150, 200]]], np.uint8)
    stronger, weaker = (jitter_stain(rgb, (f, f, f)).astype(int) for f in (1.3, 0.7))
    assert (stronger[0, 0] == 255).all()
    assert (weaker[0, 0] == 255).all()
    assert (stronger[0, 1:] < rgb[0, 1:]).all()
    assert (weaker[0, 1:] > rgb[0, 1:]).all()
    # The same factor on all three stains is the Beer-Lambert law on each channel.
    expected = np.exp(1.3 * np.log((rgb[0, 1:] + 1.0) / 256)) * 256 - 1
    assert np.abs(stronger[0, 1:] - expected).max() <= 1


def test_a_stain_changes_by_its_own_factor() -> None:
    haematoxylin = np.array([0.650, 0.704, 0.286]) / np.linalg.norm([0.650, 0.704, 0.286])
    pixel = lambda amount: np.rint(np.exp(-amount * haematoxylin) * 256 - 1).astype(np.uint8).reshape(1, 1, 3)  # noqa: E731
    assert np.abs(jitter_stain(pixel(0.8), (1.5, 1.0, 1.0)).astype(int) - pixel(1.2)).max() <= 2
    assert np.abs(jitter_stain(pixel(0.8), (1.0, 1.5, 1.0)).astype(int) - pixel(0.8)).max() <= 2


def test_a_drawn_view_follows_from_its_generator(samples: list[Sample]) -> None:
    glass = Glass((240.0, 230.0, 235.0))
    plain = View(samples[0].slide, lattice_of(samples[0]), glass=glass)
    one, two, other = (plain.redrawn(np.random.default_rng(seed), 0.1) for seed in (1, 1, 2))
    assert (one.symmetry, one.stain) == (two.symmetry, two.stain)
    assert one.stain != other.stain
    assert (one.slide, one.lattice, one.glass) == (plain.slide, plain.lattice, glass)
    drawn = {plain.redrawn(np.random.default_rng(seed), 0.1).symmetry for seed in range(60)}
    assert len(drawn) == 8
    assert plain.redrawn(np.random.default_rng(0), 0.0).stain == (1.0, 1.0, 1.0)


def test_the_glass_is_divided_by_before_the_stain_changes(samples: list[Sample]) -> None:
    glass, stain, box = Glass((240.0, 230.0, 235.0)), (1.3, 0.8, 1.1), Box(10, 20, 60, 50)
    plain = View(samples[0].slide, lattice_of(samples[0]))
    white = dataclasses.replace(plain, glass=glass)
    assert np.array_equal(white.read(box), glass.whiten(plain.read(box)))
    both = dataclasses.replace(white, stain=stain)
    assert np.array_equal(both.read(box), jitter_stain(white.read(box), stain))
