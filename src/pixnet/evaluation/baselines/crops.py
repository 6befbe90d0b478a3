"""Square crops of a slide described by numbers: frozen features of the default encoder, and colour."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import DataError
from pixnet.evaluation.baselines.base import as_points

if TYPE_CHECKING:
    from pixnet.evaluation.baselines.networks import PooledEncoder
    from pixnet.network.encoders.base import Encoder
    from pixnet.slide import Slide

SIDE_UM = 112.0
"""Side of a crop, in um."""

UM_PER_PX = 0.5
"""Default resolution of a crop: 224 px a side."""

BLOCKS = (32, 48, 80, 224, 640, 60)
"""Sizes of the groups of features: mean and standard deviation of each stage of the encoder; colour."""

# Optical density of haematoxylin, eosin and a residual in R, G, B (Ruifrok and Johnston 2001).
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_UNMIX = np.linalg.inv(_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)).astype(np.float32)
_DENSITY = -np.log10((np.arange(256) + 1.0) / 256.0).astype(np.float32)
_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_COLOUR_UM_PER_PX = 1.0  # finer pixels do not change these statistics by anything that matters
_FEWEST_PIXELS = 32  # a side: one pixel of the encoder's deepest stage


def crop_features(
    slide: Slide, centers_um: ArrayLike, batch: int = 8, um_per_px: float = UM_PER_PX
) -> NDArray[np.float32]:
    """Describe the 112-um crops around n points (x and y in um), shape (n, 1084). A row depends on its own point only.

    For each of the encoder's five stages, the features are the mean and the standard deviation of every channel over
    the crop; then mean and standard deviation of R, G, B, their optical densities and the three stains, and seven
    quantiles of R, G, B and the stains. The groups have the sizes `BLOCKS`. Everything outside the slide is white.

    Parameters
    ----------
    batch
        Number of crops that go through the encoder together; a few fit the processor's cache and are faster than many.
    um_per_px
        Resolution of the crops in um per pixel.

    Raises
    ------
    DataError
        If the points are not finite numbers of shape (n, 2), or the resolution leaves fewer than 32 pixels a side.
    """

    def describe(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        step = max(1, round(_COLOUR_UM_PER_PX / um_per_px))
        return np.hstack([_encoded(crops), [_colour(crop[::step, ::step]) for crop in crops]])

    return _described(slide, centers_um, batch, um_per_px, sum(BLOCKS), describe)


def colour_features(slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
    """Describe the colour of the 112-um crops around n points, read at 1 um per pixel, shape (n, 60).

    These are the last group of `crop_features`, whose errors they share.
    """
    return _described(slide, centers_um, 1, _COLOUR_UM_PER_PX, BLOCKS[-1], lambda crops: _colour(crops[0]))


def pooled_features(
    slide: Slide, centers_um: ArrayLike, batch: int = 8, um_per_px: float = UM_PER_PX
) -> NDArray[np.float32]:
    """Return the pooled embeddings, shape (n, 1280), that the default encoder's own classifier sees of 112-um crops.

    Parameters and errors are those of `crop_features`.
    """
    import torch

    from pixnet.evaluation.baselines.networks import as_tensor

    encoder = _pooled_encoder()

    def describe(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(encoder(as_tensor(crops)).numpy(), np.float32)

    return _described(slide, centers_um, batch, um_per_px, encoder.channels, describe)


def read_crops(slide: Slide, centers_um: ArrayLike, um_per_px: float = UM_PER_PX) -> NDArray[np.uint8]:
    """Read the 112-um crops around some points, shape (n, side, side, 3); errors are those of `crop_features`."""
    return _read(slide, _checked(centers_um, um_per_px), um_per_px)


@cache
def frozen_encoder() -> Encoder:
    """Return the default encoder with its five stages, strides 2 to 32; it is made once."""
    from pixnet.network.config import EncoderConfig
    from pixnet.network.encoders.make import make_encoder

    return make_encoder(EncoderConfig(finest=2, stride=32)).eval()


@cache
def _pooled_encoder() -> PooledEncoder:
    from pixnet.evaluation.baselines.networks import PooledEncoder

    return PooledEncoder().eval()


def _described(
    slide: Slide,
    centers_um: ArrayLike,
    batch: int,
    um_per_px: float,
    width: int,
    describe: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Describe the crops around n points, batch after batch, by a function of k crops, shape (n, width)."""
    centers = _checked(centers_um, um_per_px, batch)
    features = np.empty((len(centers), width), np.float32)
    for start in range(0, len(centers), batch):
        crops = _read(slide, centers[start : start + batch], um_per_px)
        features[start : start + len(crops)] = describe(crops)
    return features


def _checked(centers_um: ArrayLike, um_per_px: float, batch: int = 1) -> NDArray[np.float64]:
    largest = SIDE_UM / _FEWEST_PIXELS
    if not 0.0 < um_per_px <= largest or batch < 1:
        raise DataError(
            f"crops at {um_per_px:g} um per pixel in batches of {batch} cannot be made: um_per_px must be above 0 and "
            f"at most {largest:g}, and batch at least 1."
        )
    return as_points(centers_um)


def _read(slide: Slide, centers: NDArray[np.float64], um_per_px: float) -> NDArray[np.uint8]:
    side = round(SIDE_UM / um_per_px)
    crops = np.empty((len(centers), side, side, 3), np.uint8)
    for crop, (x, y) in zip(crops, centers, strict=True):
        crop[:] = slide.read(x - SIDE_UM / 2, y - SIDE_UM / 2, SIDE_UM, SIDE_UM, um_per_px)[0]
    return crops


def _encoded(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return mean and standard deviation over each crop of every channel of every stage, stage by stage."""
    import torch

    from pixnet.evaluation.baselines.networks import as_tensor

    with torch.inference_mode():
        levels = [level.float() for level in frozen_encoder()(as_tensor(crops))]
        groups = [torch.cat([level.mean((2, 3)), level.std((2, 3), correction=0)], 1) for level in levels]
        return np.asarray(torch.cat(groups, 1).numpy(), np.float32)


def colour_channels(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return R, G, B, the three stains and the three optical densities, shape (..., 9), of pixels (..., 3)."""
    density = _DENSITY[rgb]
    return np.concatenate([rgb, density @ _UNMIX, density], axis=-1, dtype=np.float32)


def _colour(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    # One row for each channel: sorting and summing run along contiguous memory.
    channels = np.ascontiguousarray(colour_channels(rgb.reshape(-1, 3)).T)
    ordered = np.sort(channels[:6], axis=1)
    quantiles = ordered[:, [round(q * (ordered.shape[1] - 1)) for q in _QUANTILES]]
    return np.concatenate([channels.mean(axis=1), channels.std(axis=1), quantiles.ravel()])
