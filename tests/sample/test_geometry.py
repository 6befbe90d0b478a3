"""Facts about regions and slide that contradict each other are found, and sound samples are left alone."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from pixnet.regions import Disks, Polygons, Squares
from pixnet.sample.geometry import contradictions
from pixnet.slide import Slide

SLIDE = Slide.from_array(np.full((100, 100, 3), 255, np.uint8), 0.5)


def lattice(pitch: float, side: int = 8, hexagonal: bool = False) -> np.ndarray:
    y, x = np.mgrid[:side, :side].astype(float)
    if hexagonal:
        x, y = x + 0.5 * (y % 2), y * np.sqrt(0.75)
    return np.column_stack([x.ravel(), y.ravel()]) * pitch


@pytest.mark.parametrize(
    ("pitch", "diameter", "hexagonal"),
    [(100, 55, True), (200, 100, False), (150, 100, True), (100, 100, False), (100, 104, False)],
)
def test_the_arrays_in_use_are_left_alone(pitch: float, diameter: float, hexagonal: bool) -> None:
    centres = lattice(pitch, hexagonal=hexagonal) + np.random.default_rng(0).normal(0, 2, (64, 2))
    assert contradictions(SLIDE, Disks(centres, diameter)) == []


def test_cells_as_disks_may_overlap_a_little() -> None:
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 200, (400, 2))  # a cell on 100 um^2
    assert contradictions(SLIDE, Disks(centres, 8.0)) == []
    assert contradictions(SLIDE, Squares(0, 0, 2.0, [0, 0, 1], [0, 1, 0])) == []
    assert contradictions(SLIDE, Disks(np.zeros((1, 2)), 8.0)) == []


@pytest.mark.parametrize("hexagonal", [True, False])
def test_a_pixel_size_ten_times_too_small_contradicts_the_spots(hexagonal: bool) -> None:
    (found,) = contradictions(SLIDE, Disks(lattice(20, hexagonal=hexagonal), 100.0))
    assert found.level == "error"
    assert "regions are 100 um wide, but their nearest neighbours are 20 um apart (at 0.5 um per pixel" in found.text
    assert found.value["apart_um"] == pytest.approx(20)


def test_a_pixel_size_ten_times_too_large_contradicts_the_spots() -> None:
    (found,) = contradictions(SLIDE, Disks(lattice(1000, hexagonal=True), 55.0))
    assert found.level == "warning"
    assert "55 um wide, but their nearest neighbours are 1e+03 um apart" in found.text


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_two_sections_in_one_table_lie_on_each_other(turn: float) -> None:
    first = lattice(100, hexagonal=True)
    turned = first @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    (found,) = contradictions(SLIDE, Disks(np.concatenate([first, turned + 11.0]), 55.0))
    assert "they would overlap" in found.text
    assert "several sections" in found.advice
    (found,) = contradictions(SLIDE, Disks(np.concatenate([first, first]), 55.0))
    assert found.level == "error"
    assert "128 of 128 regions are at the place of another one" in found.text


def test_outlines_of_two_sections_lie_on_each_other() -> None:
    cells = shapely.box(*(lattice(12) + 0.0).T, *(lattice(12) + 10.0).T)
    assert contradictions(SLIDE, Polygons(list(cells))) == []
    moved = shapely.transform(cells, lambda xy: xy + 1.0)
    (found,) = contradictions(SLIDE, Polygons([*cells, *moved]))
    assert "128 of 128 regions have their centre inside another region" in found.text
