from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixnet.grid import Box
from pixnet.slide import Slide
from pixnet.slide.resample import axis_taps, resample, snapped

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8)
RATIOS = st.one_of(st.floats(0.2, 9.0), st.sampled_from([0.25, 0.5, 1.0, 1.45, 2.0, 3.0, 4.0]))


def exact(line: np.ndarray, left: float, right: float) -> float:
    """Integral of a piecewise constant line over [left, right], in float64."""
    edges = np.arange(len(line) + 1, dtype=float)
    overlap = np.clip(np.minimum(right, edges[1:]) - np.maximum(left, edges[:-1]), 0, None)
    return float(overlap @ line)


@given(ratio=RATIOS, start=st.integers(-1000, 100_000), phase=st.floats(0, 0.999))
@settings(max_examples=100, deadline=None)
def test_weights_sum_to_one_and_are_under_the_output_pixel(ratio: float, start: int, phase: float) -> None:
    taps = axis_taps(start, 50, ratio, phase)
    assert np.allclose(taps.weights.sum(axis=0), 1, atol=1e-5)
    centre = (np.arange(start, start + 50) + phase + 0.5) * ratio
    mean = (taps.weights * (taps.first + np.arange(len(taps.weights))[:, None] + 0.5)).sum(axis=0)
    # The weights' centre of mass differs from the pixel's centre by less than half a source pixel when shrinking, and
    # hardly when enlarging.
    assert np.abs(mean - centre).max() <= (0.5 if ratio > 1 else 0.02)


@given(ratio=RATIOS, start=st.integers(0, 50_000), skip=st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_a_pixels_weights_do_not_depend_on_where_the_read_begins(ratio: float, start: int, skip: int) -> None:
    whole, part = axis_taps(start, 60, ratio), axis_taps(start + skip, 60 - skip, ratio)
    assert np.array_equal(whole.first[skip:], part.first)
    assert np.array_equal(whole.weights[:, skip:], part.weights)


@pytest.mark.parametrize("ratio", [1.0, 1.2, 1.449, 2.5, 3.0, 7.3])
def test_shrinking_is_the_area_average(ratio: float) -> None:
    slide = Slide.from_array(IMAGE, mpp=1.0)
    height, width = int(90 / ratio) - 1, int(120 / ratio) - 1
    rgb, mask = slide.read_box(Box(0, 0, height, width), ratio)
    assert mask.all()
    for row, col in [(0, 0), (3, 5), (height - 1, width - 1)]:
        for channel in range(3):
            columns = [exact(line, col * ratio, (col + 1) * ratio) for line in IMAGE[..., channel].astype(float)]
            expected = exact(np.array(columns), row * ratio, (row + 1) * ratio) / ratio**2
            assert abs(rgb[row, col, channel] - expected) <= 0.501


def test_enlarging_is_linear_between_pixel_centres() -> None:
    line = np.array([0, 100, 40, 200], np.uint8)
    slide = Slide.from_array(np.repeat(np.tile(line, (4, 1))[..., None], 3, axis=2), mpp=1.0)
    rgb, mask = slide.read_box(Box(8, 0, 1, 40), 0.1)
    at = (np.arange(40) + 0.5) * 0.1 - 0.5
    inside = (at >= 0) & (at <= 3)
    assert np.abs(rgb[0, inside, 0] - np.interp(at, np.arange(4), line)[inside]).max() <= 0.501
    assert mask.all()


def test_pixels_at_their_own_resolution_do_not_change() -> None:
    rgb, mask = Slide.from_array(IMAGE, mpp=0.3).read_box(Box(10, 20, 30, 40), 0.3 * (1 + 1e-12))
    assert np.array_equal(rgb, IMAGE[10:40, 20:60])
    assert mask.all()


@given(
    ratio=RATIOS,
    outer=st.tuples(st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 90), st.integers(1, 90)),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_overlapping_reads_are_identical(ratio: float, outer: tuple[int, int, int, int], data: st.DataObject) -> None:
    slide = Slide.from_array(IMAGE, mpp=0.7)
    box = Box(*outer)
    row = data.draw(st.integers(0, box.height - 1))
    col = data.draw(st.integers(0, box.width - 1))
    height = data.draw(st.integers(1, box.height - row))
    width = data.draw(st.integers(1, box.width - col))
    whole, whole_mask = slide.read_box(box, 0.7 * ratio)
    part, part_mask = slide.read_box(Box(box.row + row, box.col + col, height, width), 0.7 * ratio)
    assert np.array_equal(whole[row : row + height, col : col + width], part)
    assert np.array_equal(whole_mask[row : row + height, col : col + width], part_mask)


def test_only_valid_pixels_are_averaged() -> None:
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[:, :2] = 100
    mask = np.zeros((4, 4), bool)
    mask[:, :2] = True
    out, valid = padded(rgb, mask, 4.0)
    assert out[0, 0].tolist() == [100, 100, 100]
    assert valid.tolist() == [[True]]


def padded(rgb: np.ndarray, mask: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Resample to one pixel, with the window padded to that of the taps."""
    taps = axis_taps(0, 1, ratio)
    size = taps.window[1] - taps.window[0]
    more = size - len(rgb)
    rgb = np.pad(rgb, ((0, more), (0, more), (0, 0)))
    return resample(rgb, np.pad(mask, ((0, more), (0, more))), taps, taps)


def test_less_than_half_of_a_pixel_is_without_data() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0] = mask[1, :3] = True  # 7 of 16
    out, valid = padded(np.zeros((4, 4, 3), np.uint8), mask, 4.0)
    assert out[0, 0].tolist() == [255, 255, 255]
    assert valid.tolist() == [[False]]


@pytest.mark.parametrize(("ratio", "pixels"), [(2.0, 3), (1.6, 3), (4.0, 1), (3.0, 2)])
def test_the_last_pixel_counts_if_half_of_it_is_on_the_slide(ratio: float, pixels: int) -> None:
    slide = Slide.from_array(np.full((5, 5, 3), 50, np.uint8), mpp=1.0)  # 5 px: 2.5, 3.1, 1.25 and 1.67 pixels wide
    rgb, mask = slide.read_box(Box(0, 0, 1, 6), ratio)
    assert int(mask.sum()) == pixels
    assert (rgb[mask] == 50).all()
    assert (rgb[~mask] == 255).all()


def test_snapping_changes_only_rounding_errors() -> None:
    assert snapped(3.0000000001) == 3.0
    assert snapped(3.001) == 3.001
