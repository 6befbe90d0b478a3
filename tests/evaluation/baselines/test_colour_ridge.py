from __future__ import annotations

import numpy as np

from pixnet.evaluation.baselines import ColourRidgeBaseline
from pixnet.evaluation.baselines.eigen_ridge import PENALTIES
from pixnet.slide import Slide


def test_sees_no_shapes(samples, board, panel):
    """The pixels of every square in another order give the same predictions."""
    model = ColourRidgeBaseline().fit(samples, panel)
    assert model.penalty in PENALTIES
    rgb = np.random.default_rng(0).integers(60, 220, (112, 112, 3), dtype=np.uint8)
    order = np.random.default_rng(1).permutation(112 * 112)
    shuffled = rgb.reshape(-1, 3)[order].reshape(rgb.shape)
    first, second = (model.predict(Slide.from_array(image, 1.0), [[56.0, 56.0]]) for image in (rgb, shuffled))
    np.testing.assert_allclose(first, second, rtol=1e-5)
