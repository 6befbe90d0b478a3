from __future__ import annotations

import numpy as np
import pytest

from pixnet.errors import DataError
from pixnet.evaluation.baselines.crops import (
    BLOCKS,
    SIDE_UM,
    colour_features,
    crop_features,
    frozen_encoder,
    pooled_features,
    read_crops,
)
from pixnet.slide import Slide

COARSE = 2.0  # um per pixel, for small crops


def test_crop_features_depend_on_the_point_only():
    rng = np.random.default_rng(0)
    slide = Slide.from_array(rng.integers(0, 255, (200, 300, 3), dtype=np.uint8), COARSE)
    centres = rng.uniform(0, 400, (7, 2))
    features = crop_features(slide, centres, um_per_px=COARSE)
    assert features.shape == (7, sum(BLOCKS))
    assert features.dtype == np.float32
    for order, batch in ((np.arange(7)[::-1], 3), (np.array([4, 2]), 1)):
        other = crop_features(slide, centres[order], batch=batch, um_per_px=COARSE)
        np.testing.assert_allclose(other, features[order], rtol=1e-4, atol=1e-4)


def test_crop_features_groups_are_what_they_say():
    grey = Slide.from_array(np.full((100, 100, 3), (90, 120, 200), np.uint8), 2.0)
    crop = crop_features(grey, [[100, 100]], um_per_px=COARSE)[0]
    colour = crop[-BLOCKS[-1] :]
    np.testing.assert_allclose(colour[:3], (90, 120, 200), atol=1e-3)
    density = -np.log10((np.array([90, 120, 200]) + 1) / 256)
    np.testing.assert_allclose(colour[6:9], density, rtol=1e-5)
    np.testing.assert_allclose(colour[9:18], 0, atol=1e-4)  # deviations
    np.testing.assert_allclose(colour[18:25], 90)  # quantiles of red
    beyond = crop_features(grey, [[-SIDE_UM, -SIDE_UM]], um_per_px=COARSE)[0]
    np.testing.assert_allclose(beyond[-BLOCKS[-1] :][:3], 255)


def test_crop_features_default_resolution():
    rgb = np.random.default_rng(0).integers(0, 255, (240, 240, 3), dtype=np.uint8)
    features = crop_features(Slide.from_array(rgb, 0.5), [[60.0, 60.0]])
    assert features.shape == (1, sum(BLOCKS))
    assert np.isfinite(features).all()
    window = rgb[8:232, 8:232].reshape(-1, 3).astype(float)
    np.testing.assert_allclose(features[0, -BLOCKS[-1] :][:3], window.mean(axis=0), atol=1.5)


def test_crops_that_cannot_be():
    slide = Slide.from_array(np.zeros((10, 10, 3), np.uint8), 1.0)
    with pytest.raises(DataError, match="centers_um"):
        crop_features(slide, [1.0, 2.0])
    with pytest.raises(DataError, match="um per pixel"):
        crop_features(slide, [[1.0, 2.0]], um_per_px=10.0)
    assert crop_features(slide, np.empty((0, 2))).shape == (0, sum(BLOCKS))


def test_colour_features_are_the_last_group():
    rgb = np.random.default_rng(0).integers(0, 255, (240, 240, 3), dtype=np.uint8)
    slide, centres = Slide.from_array(rgb, 1.0), [[60.0, 60.0], [131.5, 170.0]]
    expected = crop_features(slide, centres, um_per_px=1.0)[:, -BLOCKS[-1] :]
    np.testing.assert_array_equal(colour_features(slide, centres), expected)
    with pytest.raises(DataError, match="centers_um"):
        colour_features(slide, [[np.nan, 0.0]])


def test_pooled_features_are_what_the_classifier_sees():
    """They come from the deepest of the five stages by the last convolution, its normalisation and the mean."""
    import torch

    rgb = np.random.default_rng(0).integers(0, 255, (150, 150, 3), dtype=np.uint8)
    slide, centres = Slide.from_array(rgb, 1.0), [[70.0, 70.0], [80.0, 60.0]]
    features = pooled_features(slide, centres, um_per_px=1.0)
    assert features.shape == (2, 1280)
    from pixnet.evaluation.baselines.networks import PooledEncoder

    model = PooledEncoder().eval().model
    with torch.inference_mode():
        image = torch.from_numpy(read_crops(slide, centres, 1.0)).permute(0, 3, 1, 2)
        deepest = frozen_encoder()(image)[-1]
        expected = model.bn2(model.conv_head(deepest)).mean((2, 3))
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pooled_features(slide, centres[::-1], 1, 1.0)[::-1], features, rtol=1e-3, atol=1e-4)


def test_crops_are_the_slide_about_the_points():
    rgb = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    crops = read_crops(Slide.from_array(rgb, 1.0), [[56.0, 56.0], [200.0, 100.0]], 1.0)
    np.testing.assert_array_equal(crops, [rgb[:112, :112], rgb[44:156, 144:256]])
