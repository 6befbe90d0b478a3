from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixnet.readers.formats.pitch import pitch_in_pixels


@given(
    pitch=st.floats(5, 500),
    angle=st.floats(0, 6.3),
    shift=st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)),
    flip=st.booleans(),
    stray=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_pitch_is_found_at_any_angle_despite_a_stray_spot(
    pitch: float, angle: float, shift: tuple[float, float], flip: bool, stray: bool
) -> None:
    array = np.array([(x, y) for x in range(12) for y in range(9)], float)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    pixels = (array * [1, -1 if flip else 1]) @ turn * pitch + shift
    if stray:
        pixels[7] += 3 * pitch
    assert pitch_in_pixels(array, pixels) == pytest.approx((pitch, pitch), rel=1e-6)


def test_no_pitch_is_explained() -> None:
    line = np.array([(x, 0.0) for x in range(9)])
    assert pitch_in_pixels(line, 10 * line) == "the spots are on one line"
    array = np.array([(x, y) for x in range(9) for y in range(9)], float)
    sheared = array @ np.array([[10.0, 0.0], [4.0, 10.0]])
    assert pitch_in_pixels(array, sheared) == "the two axes of the array are not at right angles in the image"
