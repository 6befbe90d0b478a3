"""Independent streams of random numbers, and smooth random fields."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]


class Seeds(NamedTuple):
    """Seeds of a virtual tissue.

    The slide's is for layout, cells and texture, the donor's for stain and levels of expression, and the hidden one for
    the part of the expression that the image does not show.
    """

    slide: int
    donor: int
    hidden: int


# Every step draws from its own stream, so that a change of one step does not change the others.
_STREAMS = ("layout", "cells", "render", "stain", "donor", "hidden", "counts", "profiles", "shifts", "scanner")


def stream(name: str, *seeds: int) -> np.random.Generator:
    """Return the random generator of one step, one of `_STREAMS`, which depends on these seeds."""
    return np.random.default_rng([_STREAMS.index(name), *seeds])


def smooth(rng: np.random.Generator, shape: tuple[int, int], length: float) -> Array:
    """Draw a smooth field, with a mean of about 0 and a variance of about 1, shape (rows, columns).

    `length` is the standard deviation of the smoothing, in pixels.
    """
    # White noise is smoothed on a coarser lattice, with four points in each `length`, and then interpolated.
    step = max(1.0, length / 4)
    size = tuple(int(np.ceil(n / step)) + 4 for n in shape)
    sigma = length / step
    # The squared weights of a discrete Gaussian kernel add up to 1 / (4 pi sigma^2).
    coarse = ndimage.gaussian_filter(rng.standard_normal(size), sigma, mode="wrap") * (2 * np.sqrt(np.pi) * sigma)
    if step == 1.0:
        cropped: Array = coarse[: shape[0], : shape[1]]
        return cropped
    rows, cols = (1 + np.arange(n) / step for n in shape)
    # Separable linear interpolation.
    low = rows.astype(int)
    part = (rows - low)[:, None]
    coarse = coarse[low] * (1 - part) + coarse[low + 1] * part
    low = cols.astype(int)
    weight = cols - low
    result: Array = coarse[:, low] * (1 - weight) + coarse[:, low + 1] * weight
    return result


def fibres(rng: np.random.Generator, angle: NDArray[np.float32], length: float, width: float) -> Array:
    """Draw a texture of fibres, of variance about 1, that follows directions in radians, shape (rows, columns).

    White noise is filtered by long, thin Gaussians in eight directions; `length` and `width` are their standard
    deviations in pixels. Each pixel mixes the two directions nearest to its own.
    """
    rows, cols = angle.shape
    spectrum = np.fft.rfft2(rng.standard_normal(angle.shape))
    fy = np.fft.fftfreq(rows)[:, None]
    fx = np.fft.rfftfreq(cols)[None, :]
    count = 8
    place = np.mod(angle, np.pi) * (count / np.pi)
    result = np.zeros(angle.shape)
    for k in range(count):
        weight = np.maximum(0.0, 1 - np.minimum(abs(place - k), count - abs(place - k)))
        theta = k * np.pi / count
        along = fx * np.cos(theta) + fy * np.sin(theta)
        across = fy * np.cos(theta) - fx * np.sin(theta)
        kernel = np.exp(-2 * np.pi**2 * ((along * length) ** 2 + (across * width) ** 2))
        result += weight * np.fft.irfft2(spectrum * kernel, angle.shape)
    result *= 2 * np.sqrt(np.pi * length * width)
    return result
