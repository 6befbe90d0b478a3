from __future__ import annotations

import numpy as np
import pytest

from pixnet.evaluation.baselines.superpixels import GROUPS, PITCH_UM, superpixels_under
from pixnet.regions import Disks, Squares
from pixnet.slide import Slide


@pytest.fixture(scope="module")
def slide():
    rgb = np.random.default_rng(0).integers(0, 255, (60, 272, 3), dtype=np.uint8)
    return Slide.from_array(np.repeat(rgb, 4, axis=1), 1.0)  # 60 x 1088 um: two tiles


def test_areas_add_up_over_tiles(slide):
    regions = Disks([[500.0, 30.0], [1024.0, 30.0], [1070.0, 20.0]], [40.0, 50.0, 1.0])
    total, seen = np.zeros(3), []
    for rows, areas, features in superpixels_under(slide, regions):
        assert areas.shape == (len(rows), len(features))
        assert features.shape[1] == sum(GROUPS)
        assert (np.diff(areas.tocsc().indptr) > 0).all(), "every super-pixel has a part in a region"
        total[rows] += areas.sum(axis=1)
        seen.append(rows.tolist())
    assert seen == [[0, 1], [1, 2]]
    np.testing.assert_allclose(total, regions.areas_um2)


def test_features_do_not_depend_on_what_is_asked_for(slide):
    few = Squares.tiling(40, 16, 48, 24, PITCH_UM)
    many = Squares.tiling(0, 0, 64, 32, PITCH_UM)
    ((_, areas, alone),) = superpixels_under(slide, few)
    ((rows, all_areas, among),) = superpixels_under(slide, many)
    assert len(alone) == 1
    np.testing.assert_allclose(areas.toarray(), [[PITCH_UM**2]])
    np.testing.assert_array_equal(rows, np.arange(32))
    np.testing.assert_allclose(all_areas.toarray(), PITCH_UM**2 * np.eye(32))
    np.testing.assert_array_equal(among[2 * 8 + 5], alone[0])


def test_colour_is_that_of_the_super_pixel(slide):
    ((_, _, features),) = superpixels_under(slide, Squares.tiling(40, 16, 48, 24, PITCH_UM))
    pixels = slide.read(40, 16, 8, 8, 1.0)[0].reshape(-1, 3).astype(float)
    colour = features[0, -18:]
    np.testing.assert_allclose(colour[:3], pixels.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(colour[9:12], pixels.std(axis=0), rtol=1e-5)
