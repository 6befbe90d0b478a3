"""Latent values as float16: nothing is lost, however small or large."""

from __future__ import annotations

import numpy as np
import pytest

from pixnet.field.build.scaling import Outgrown, Scale, first_exponents
from pixnet.field.head import LinearHead


@pytest.mark.parametrize("size", [1e-44, 1e-39, 1e-30, 1.0, 3e38])
def test_values_of_any_size_come_back(size: float) -> None:
    values = np.array([0.0, 0.25, 1.0], np.float32).reshape(1, 1, 3) * np.float32(size)
    scale = Scale(np.dtype(np.float16), [None])
    packed = scale.pack(values.copy())
    assert np.isfinite(packed).all()
    back = packed.astype(np.float64) * scale.factors[0]
    # Half a step of float16, or the smallest part of the factor that it knows.
    np.testing.assert_allclose(back, values, rtol=2**-11, atol=2.0**-25 * scale.factors[0])


def test_channels_are_packed_in_their_own_order_where_they_lie() -> None:
    values = np.random.default_rng(0).normal(size=(7, 5, 3)).astype(np.float32)
    scale = Scale(np.dtype(np.float16), [None] * 7)
    packed = scale.pack(taken := values.copy())
    assert np.shares_memory(packed, taken)
    expected = values / np.array(scale.factors, np.float32)[:, None, None]
    np.testing.assert_array_equal(packed, expected.astype(np.float16))


def test_all_channels_that_outgrow_their_scale_are_told_at_once() -> None:
    scale = Scale(np.dtype(np.float16), [0, 0, 0])
    values = np.array([1e9, 0.5, 1e6], np.float32).reshape(3, 1, 1)
    with pytest.raises(Outgrown) as told:
        scale.pack(values)
    assert told.value.exponent == [30, 0, 20]
    assert np.isfinite(Scale(np.dtype(np.float16), told.value.exponent).pack(values)).all()


def test_a_head_with_b_says_what_is_tiny_before_any_block_is_known() -> None:
    def head(b: list[float]) -> LinearHead:
        return LinearHead("mean", ("A", "B"), np.array([[3.0, -1.0], [2.0**-20, 0.0], [0.0, 0.0]]), np.array(b), "u")

    half = np.dtype(np.float16)
    assert first_exponents(half, head([0.5, -0.75])) == [-1, 21, None]  # 1.25 over 4, and over 2^-20
    assert first_exponents(half, head([0.0, 0.0])) == [None] * 3
    assert first_exponents(np.dtype(np.float32), head([0.5, 0.5])) == [None] * 3


def test_float32_is_stored_as_it_is() -> None:
    scale, values = Scale(np.dtype(np.float32), [None]), np.array([[[3e38, -1e-44]]], np.float32)
    np.testing.assert_array_equal(scale.pack(values), values)
    assert scale.exponent == [None]
