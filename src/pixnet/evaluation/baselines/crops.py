"""What a square crop of the slide looks like, in numbers: frozen features of the default encoder, and colour."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import DataError

if TYPE_CHECKING:
    from pixnet.evaluation.pooled_encoder import PooledEncoder
    from pixnet.network.encoders import Encoder
    from pixnet.slide import Slide

SIDE_UM = 112.0
"""Side of a crop, in um."""

UM_PER_PX = 0.5
"""Resolution of a crop, unless another is asked for: 224 px a side."""

BLOCKS = (32, 48, 80, 224, 640, 60)
"""Sizes of the groups of features: mean and standard deviation of each stage of the encoder; colour."""

# Optical density of haematoxylin, eosin and a residual in R, G, B (Ruifrok and Johnston 2001).
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_UNMIX = np.linalg.inv(_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)).astype(np.float32)
_DENSITY = -np.log10((np.arange(256) + 1.0) / 256.0).astype(np.float32)
_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_COLOUR_UM_PER_PX = 1.0  # finer pixels change these statistics by nothing that matters


def crop_features(
    slide: Slide, centers_um: ArrayLike, batch: int = 8, um_per_px: float = UM_PER_PX
) -> NDArray[np.float32]:
    """Describe the 112-um crops around some points. A row depends on the slide and its own point only.

    Parameters
    ----------
    slide
        What lies beyond its edge is white.
    centers_um
        (n, 2), x and y.
    batch
        Crops that go through the encoder together; few of them fit the processor's cache and are faster than many.
    um_per_px
        Resolution at which the crops are read.

    Returns
    -------
    array
        (n, 1084) float32: for each of the encoder's five stages the mean and the standard deviation of every channel
        over the crop; then mean and standard deviation of R, G, B, their optical densities and the three stains, and
        seven quantiles of R, G, B and the stains. The groups have the sizes `BLOCKS`.

    Raises
    ------
    DataError
        If the centres are not (n, 2) finite numbers, or the resolution leaves less than 32 pixels a side.
    """
    centers = _checked(centers_um, um_per_px, batch)
    step = max(1, round(_COLOUR_UM_PER_PX / um_per_px))
    features = np.empty((len(centers), sum(BLOCKS)), np.float32)
    deep = sum(BLOCKS[:-1])
    for start in range(0, len(centers), batch):
        crops = _read(slide, centers[start : start + batch], um_per_px)
        part = slice(start, start + len(crops))
        features[part, :deep] = _encoded(crops)
        features[part, deep:] = [_colour(crop[::step, ::step]) for crop in crops]
    return features


def colour_features(slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
    """Describe the colour of the 112-um crops around some points, read at 1 um per pixel.

    Parameters
    ----------
    slide
        What lies beyond its edge is white.
    centers_um
        (n, 2), x and y.

    Returns
    -------
    array
        (n, 60) float32: the last group of `crop_features`.

    Raises
    ------
    DataError
        If the centres are not (n, 2) finite numbers.
    """
    centers = _checked(centers_um, _COLOUR_UM_PER_PX)
    features = np.empty((len(centers), BLOCKS[-1]), np.float32)
    for row, center in enumerate(centers):
        features[row] = _colour(_read(slide, center[None], _COLOUR_UM_PER_PX)[0])
    return features


def pooled_features(
    slide: Slide, centers_um: ArrayLike, batch: int = 8, um_per_px: float = UM_PER_PX
) -> NDArray[np.float32]:
    """Give the pooled embedding, (n, 1280), that the default encoder's own classifier sees of the 112-um crops.

    Parameters and errors are those of `crop_features`.
    """
    import torch

    centers = _checked(centers_um, um_per_px, batch)
    encoder = _pooled_encoder()
    features = np.empty((len(centers), encoder.channels), np.float32)
    with torch.inference_mode():
        for start in range(0, len(centers), batch):
            crops = _read(slide, centers[start : start + batch], um_per_px)
            features[start : start + len(crops)] = encoder(torch.from_numpy(crops).permute(0, 3, 1, 2)).numpy()
    return features


def read_crops(slide: Slide, centers_um: ArrayLike, um_per_px: float = UM_PER_PX) -> NDArray[np.uint8]:
    """Read the 112-um crops around some points, (n, side, side, 3); errors are those of `crop_features`."""
    return _read(slide, _checked(centers_um, um_per_px), um_per_px)


@cache
def frozen_encoder() -> Encoder:
    """Make the default encoder with its five stages, strides 2 to 32, once."""
    from pixnet.network.config import EncoderConfig
    from pixnet.network.encoders import make_encoder

    return make_encoder(EncoderConfig(finest=2, stride=32)).eval()


@cache
def _pooled_encoder() -> PooledEncoder:
    from pixnet.evaluation.pooled_encoder import PooledEncoder

    return PooledEncoder().eval()


def _checked(centers_um: ArrayLike, um_per_px: float, batch: int = 1) -> NDArray[np.float64]:
    centers = np.asarray(centers_um, np.float64)
    if centers.ndim != 2 or centers.shape[1] != 2 or not np.isfinite(centers).all():
        raise DataError(f"centers_um: (n, 2) finite numbers in um were expected; got shape {centers.shape}.")
    if not 0.0 < um_per_px <= SIDE_UM / 32 or batch < 1:
        raise DataError(f"crops at {um_per_px:g} um per pixel in batches of {batch} cannot be made; try {UM_PER_PX}.")
    return centers


def _read(slide: Slide, centers: NDArray[np.float64], um_per_px: float) -> NDArray[np.uint8]:
    side = round(SIDE_UM / um_per_px)
    crops = np.empty((len(centers), side, side, 3), np.uint8)
    for crop, (x, y) in zip(crops, centers, strict=True):
        crop[:] = slide.read(x - SIDE_UM / 2, y - SIDE_UM / 2, SIDE_UM, SIDE_UM, um_per_px)[0]
    return crops


def _encoded(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give mean and standard deviation over the crop of every channel of every stage, stage by stage."""
    import torch

    with torch.inference_mode():
        image = torch.from_numpy(crops).permute(0, 3, 1, 2)
        levels = [level.float() for level in frozen_encoder()(image)]
        groups = [torch.cat([level.mean((2, 3)), level.std((2, 3), correction=0)], 1) for level in levels]
        return np.asarray(torch.cat(groups, 1).numpy(), np.float32)


def colour_channels(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give R, G, B, the three stains and the three optical densities, (..., 9), of pixels (..., 3)."""
    density = _DENSITY[rgb]
    return np.concatenate([rgb, density @ _UNMIX, density], axis=-1, dtype=np.float32)


def _colour(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    # One row for each channel: sorting and summing run along contiguous memory.
    every = np.ascontiguousarray(colour_channels(rgb.reshape(-1, 3)).T)
    ordered = np.sort(every[:6], axis=1)
    quantiles = ordered[:, [round(q * (ordered.shape[1] - 1)) for q in _QUANTILES]]
    return np.concatenate([every.mean(axis=1), every.std(axis=1), quantiles.ravel()])
