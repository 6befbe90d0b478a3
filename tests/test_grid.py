from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixnet.grid import Box, Grid, Lattice, round_up


def test_a_grid_knows_its_extent() -> None:
    grid = Grid(10.0, 20.0, 0.5, height=4, width=6)
    assert grid.shape == (4, 6)
    assert grid.size == 24
    assert grid.pixel_area_um2 == 0.25
    assert grid.bounds_um == (10.0, 20.0, 13.0, 22.0)


def test_a_crop_keeps_pitch_and_phase() -> None:
    crop = Grid(10.0, 20.0, 0.5, height=4, width=6).crop(row=1, col=2, height=2, width=3)
    assert crop == Grid(11.0, 20.5, 0.5, height=2, width=3)


@pytest.mark.parametrize("pitch", [0.0, -1.0, math.nan, math.inf])
def test_a_grid_needs_a_positive_pitch(pitch: float) -> None:
    with pytest.raises(ValueError, match="positive pitch"):
        Grid(0.0, 0.0, pitch, 1, 1)


def test_a_grid_has_no_negative_size() -> None:
    with pytest.raises(ValueError, match="cannot have"):
        Grid(0.0, 0.0, 1.0, -1, 1)


def test_a_grown_box_has_a_margin_on_each_side() -> None:
    assert Box(5, 7, 10, 20).grown(3) == Box(2, 4, 16, 26)


@given(st.integers(-1000, 1000), st.integers(1, 64))
def test_round_up_gives_the_next_multiple(value: int, multiple: int) -> None:
    result = round_up(value, multiple)
    assert result % multiple == 0
    assert 0 <= result - value < multiple


@settings(deadline=None)
@given(
    width=st.floats(1, 200),
    height=st.floats(1, 200),
    mpp=st.floats(0.5, 4),
    stride=st.sampled_from([8, 16, 32]),
    tile=st.integers(1, 4),
)
def test_tiles_cover_the_lattice_once(width: float, height: float, mpp: float, stride: int, tile: int) -> None:
    lattice = Lattice(width, height, mpp, stride, halo=1)
    seen = np.zeros((lattice.height, lattice.width), dtype=int)
    for box in lattice.tiles(tile * stride):
        assert box.row % stride == box.col % stride == box.height % stride == box.width % stride == 0
        assert 0 < box.height <= tile * stride
        assert 0 < box.width <= tile * stride
        seen[box.row : box.row + box.height, box.col : box.col + box.width] += 1
    assert (seen == 1).all()


@given(st.floats(1, 5000), st.floats(1, 5000), st.floats(0.25, 4), st.sampled_from([4, 16, 32]))
def test_a_lattice_covers_the_slide_and_little_more(width: float, height: float, mpp: float, stride: int) -> None:
    lattice = Lattice(width, height, mpp, stride, halo=0)
    for pixels, extent in ((lattice.width, width), (lattice.height, height)):
        assert pixels % stride == 0
        assert -1e-5 <= pixels * mpp - extent < (stride + 1) * mpp


def test_a_whole_number_of_pixels_is_not_rounded_up() -> None:
    # 0.1 * 3 is slightly more than 0.3, which must not add a row.
    assert Lattice(0.1 * 3 * 16, 0.1 * 3 * 16, 0.3, 16, 0).height == 16


def test_the_halo_is_a_multiple_of_the_stride() -> None:
    assert Lattice(100.0, 100.0, 1.0, 16, halo=180).halo == 192
    assert Lattice(100.0, 100.0, 1.0, 16, halo=192).halo == 192


def test_the_map_of_a_lattice_has_one_pixel_per_stride() -> None:
    lattice = Lattice(100.0, 50.0, 0.5, 16, halo=0)
    assert lattice.grid(4) == Grid(0.0, 0.0, 2.0, 28, 52)
    assert lattice.grid(1).shape == (lattice.height, lattice.width)


@pytest.mark.parametrize("core", [0, -16, 24])
def test_tiles_are_multiples_of_the_stride(core: int) -> None:
    with pytest.raises(ValueError, match="positive multiple of 16"):
        list(Lattice(100.0, 100.0, 1.0, 16, halo=0).tiles(core))
