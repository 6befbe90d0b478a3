"""What a square crop of the slide looks like, in numbers: frozen features of the default encoder, and colour."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import DataError
from pixnet.network.config import EncoderConfig
from pixnet.network.encoders import Encoder, make_encoder

if TYPE_CHECKING:
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
    centers = np.asarray(centers_um, np.float64)
    if centers.ndim != 2 or centers.shape[1] != 2 or not np.isfinite(centers).all():
        raise DataError(f"centers_um: (n, 2) finite numbers in um were expected; got shape {centers.shape}.")
    if not 0.0 < um_per_px <= SIDE_UM / 32 or batch < 1:
        raise DataError(f"crops at {um_per_px:g} um per pixel in batches of {batch} cannot be made; try {UM_PER_PX}.")
    step = max(1, round(_COLOUR_UM_PER_PX / um_per_px))
    features = np.empty((len(centers), sum(BLOCKS)), np.float32)
    deep = sum(BLOCKS[:-1])
    for start in range(0, len(centers), batch):
        crops = np.stack([_crop(slide, x, y, um_per_px) for x, y in centers[start : start + batch]])
        part = slice(start, start + len(crops))
        features[part, :deep] = _encoded(crops)
        features[part, deep:] = [_colour(crop[::step, ::step]) for crop in crops]
    return features


def _crop(slide: Slide, x_um: float, y_um: float, um_per_px: float) -> NDArray[np.uint8]:
    corner = (x_um - SIDE_UM / 2, y_um - SIDE_UM / 2)
    return slide.read(*corner, SIDE_UM, SIDE_UM, um_per_px)[0]


@cache
def _encoder() -> Encoder:
    return make_encoder(EncoderConfig(finest=2, stride=32)).eval()


def _encoded(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give mean and standard deviation over the crop of every channel of every stage, stage by stage."""
    with torch.inference_mode():
        image = torch.from_numpy(crops).permute(0, 3, 1, 2)
        levels = [level.float() for level in _encoder()(image)]
        groups = [torch.cat([level.mean((2, 3)), level.std((2, 3), correction=0)], 1) for level in levels]
        return np.asarray(torch.cat(groups, 1).numpy(), np.float32)


def _colour(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = rgb.reshape(-1, 3)
    density = _DENSITY[pixels]
    # One row for each channel: sorting and summing run along contiguous memory.
    every = np.ascontiguousarray(np.concatenate([pixels, density @ _UNMIX, density], axis=1, dtype=np.float32).T)
    ordered = np.sort(every[:6], axis=1)
    quantiles = ordered[:, [round(q * (len(pixels) - 1)) for q in _QUANTILES]]
    return np.concatenate([every.mean(axis=1), every.std(axis=1), quantiles.ravel()])
