"""Pixels inside regions, and what a made slide shows there."""

from __future__ import annotations

import dataclasses

import anndata
import numpy as np
import pandas as pd
import pytest

from pixnet.errors import DataError
from pixnet.evaluation.compartments.pixels import PITCH_UM, pixels_inside
from pixnet.regions import Disks, Squares
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.slide.stain import EOSIN, HAEMATOXYLIN

SIDE = 400  # pixels of the slide, 1 um each


def stained(nuclei, eosin):
    """Return a picture of nuclei (h, w) of haematoxylin on eosin of a given optical density (h, w)."""
    density = 0.9 * nuclei[..., None] * HAEMATOXYLIN + eosin[..., None] * EOSIN
    return np.rint(255.0 * 10.0**-density).astype(np.uint8)


def sample_of(rgb, regions):
    table = anndata.AnnData(np.ones((len(regions), 1), np.float32), var=pd.DataFrame(index=["G"]))
    return Sample("S", Slide.from_array(rgb, 1.0), regions, table, None)


@pytest.fixture
def shown():
    """Nuclei on the left edge of each pixel, from none to three quarters of it, and eosin that rises downwards."""
    share = np.arange(SIDE // 8) % 4 / 4.0
    nuclei = (np.arange(SIDE) % 8 / 8.0 < np.repeat(share, 8))[None, :] & np.ones((SIDE, 1), bool)
    eosin = np.repeat(np.linspace(0.1, 0.4, SIDE)[:, None], SIDE, axis=1)
    return stained(nuclei, eosin), share, eosin


def test_nuclear_density_and_eosin_are_those_of_the_slide(shown):
    rgb, share, eosin = shown
    sample = sample_of(rgb, Disks([[100.0, 100.0], [252.0, 292.0]], 100.0))
    pixels = pixels_inside(sample, np.ones(2, bool))
    rows, cols = pixels.squares.rows, pixels.squares.cols
    np.testing.assert_allclose(pixels.stains[:, 0], share[cols])
    # Eosin is measured along its own unit vector.
    expected = eosin[:, 0].reshape(-1, 8).mean(axis=1)[rows]
    np.testing.assert_allclose(pixels.stains[:, 1], expected * np.linalg.norm(EOSIN), atol=0.02)
    means = [pixels.stains[pixels.region == number].mean(axis=0) for number in (0, 1)]
    np.testing.assert_allclose(pixels.stains_of_regions, means)


def test_pixels_are_at_least_half_inside_their_region(shown):
    sample = sample_of(shown[0], Disks([[100.0, 100.0], [250.0, 300.0]], 100.0))
    pixels = pixels_inside(sample, np.ones(2, bool))
    assert np.abs(len(pixels.squares) * PITCH_UM**2 / sample.regions.areas_um2.sum() - 1) < 0.03
    centers = sample.regions.centers_um[pixels.region]
    assert np.hypot(*(pixels.squares.centers_um - centers).T).max() < 50.0 + 1.0
    assert len(pixels.squares) == len({*zip(pixels.squares.rows, pixels.squares.cols, strict=True)})


def test_regions_without_enough_counts_or_pixels_are_left_out(shown):
    # The third is where the first is, which leaves it no pixel of its own.
    regions = Disks([[60.0, 60.0], [200.0, 200.0], [60.0, 60.0], [300.0, 100.0]], 80.0)
    pixels = pixels_inside(sample_of(shown[0], regions), np.array([True, False, True, True]))
    assert pixels.rows.tolist() == [0, 3]
    assert set(pixels.region) == {0, 1}


def test_a_region_may_share_no_pixel_with_another(shown):
    overlapping = Disks([[100.0, 100.0], [110.0, 100.0]], 80.0)
    pixels = pixels_inside(sample_of(shown[0], overlapping), np.ones(2, bool))
    assert len(pixels.squares) == len({*zip(pixels.squares.rows, pixels.squares.cols, strict=True)})
    assert set(pixels.region) == {0, 1}


def test_bins_are_too_small_to_look_inside(shown):
    sample = sample_of(shown[0], Squares.tiling(0, 0, 80, 80, 16.0))
    with pytest.raises(DataError, match=r"sample 'S': its regions with enough counts hold at most 4 pixels of 8 um"):
        pixels_inside(sample, np.ones(len(sample.regions), bool))
    with pytest.raises(DataError, match="at most 0 pixels"):
        pixels_inside(dataclasses.replace(sample), np.zeros(len(sample.regions), bool))
