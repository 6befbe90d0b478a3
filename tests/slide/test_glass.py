from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pixnet.slide import Slide
from pixnet.slide.glass import WHITE_GLASS, Glass

TINT = np.array([232.0, 216.0, 230.0])


def picture(seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture at 4 um/px with tissue of several colours in the middle, on white glass with some noise."""
    rng = np.random.default_rng(seed)
    rgb = 250.0 + rng.normal(0.0, 2.0, (300, 400, 3))
    rgb[60:240, 80:320] = rng.uniform([120, 60, 140], [220, 170, 220], (180, 240, 3))
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def tinted(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture with a tint, by the Beer-Lambert law."""
    return np.rint(rgb * (TINT / 255.0)).astype(np.uint8)


def test_the_glass_has_the_colour_of_bare_glass() -> None:
    plain, seen = (Glass.from_slide(Slide.from_array(rgb, 4.0)) for rgb in (picture(), tinted(picture())))
    np.testing.assert_allclose(plain.rgb, 250.0, atol=1.0)
    np.testing.assert_allclose(seen.rgb, 250.0 * TINT / 255.0, atol=1.5)


def test_whitening_removes_a_tint() -> None:
    plain, other = picture(), tinted(picture())
    one, two = (Glass.from_slide(Slide.from_array(rgb, 4.0)).whiten(rgb).astype(int) for rgb in (plain, other))
    assert np.abs(one - two).max() <= 3
    assert np.abs(plain.astype(int) - other).max() > 30
    # Bare glass is white up to its noise, and so is anything brighter.
    assert np.median(one[:50]) >= 254
    assert Glass((200.0, 200.0, 200.0)).whiten(np.full((2, 2, 3), 230, np.uint8)).min() == 255


def test_white_glass_does_not_change_the_image() -> None:
    rgb = picture()
    assert WHITE_GLASS.whiten(rgb) is rgb
    assert np.array_equal(Glass((255.0, 255.0, 254.99)).whiten(rgb), rgb)


def test_a_picture_full_of_tissue_shows_no_glass() -> None:
    """Pale stroma and dark nuclei, and a tear that is too small to measure the glass in."""
    rng = np.random.default_rng(0)
    nuclei = rng.random((300, 300, 1)) < 0.3
    rgb = np.where(nuclei, (90, 60, 140), (225, 190, 212)) + rng.normal(0.0, 4.0, (300, 300, 3))
    rgb[:20, :20] = 240
    assert Glass.from_slide(Slide.from_array(rgb.astype(np.uint8), 16.0)) == WHITE_GLASS


@pytest.mark.parametrize("glass", [150, 240])
def test_without_colours_the_brightest_pixels_are_the_glass(glass: int) -> None:
    rgb = np.full((300, 400, 3), glass, np.uint8)
    rgb[20:280, 20:380] = np.random.default_rng(0).integers(60, glass - 40, (260, 360, 1))
    assert Glass.from_slide(Slide.from_array(rgb, 16.0)).rgb == (glass, glass, glass)


def test_parts_that_were_not_scanned_are_not_glass() -> None:
    rgb = np.concatenate([tinted(picture()), np.full((500, 400, 3), 255, np.uint8)])
    np.testing.assert_allclose(Glass.from_slide(Slide.from_array(rgb, 16.0)).rgb, 250.0 * TINT / 255.0, atol=1.5)
    rgb[:] = 255
    rgb[100:200, 100:200] = (150, 80, 160)
    assert Glass.from_slide(Slide.from_array(rgb, 16.0)) == WHITE_GLASS


def test_black_is_not_glass() -> None:
    rgb = picture()
    rgb[:40] = 0  # a part that was not scanned
    np.testing.assert_allclose(Glass.from_slide(Slide.from_array(rgb, 4.0)).rgb, 250.0, atol=1.0)
    assert Glass.from_slide(Slide.from_array(np.zeros((100, 100, 3), np.uint8), 4.0)) == WHITE_GLASS


def test_a_slide_smaller_than_a_pixel_of_the_picture_shows_no_glass() -> None:
    assert Glass.from_slide(Slide.from_array(np.full((1, 1, 3), 240, np.uint8), 1.0)) == WHITE_GLASS
