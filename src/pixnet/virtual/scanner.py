"""The scanner: focus, colour, sharpening and JPEG compression, between the light of a section and its image."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pixnet.virtual.noise import smooth
from pixnet.virtual.shifts import Imaging

Array = NDArray[np.float64]

_FOCUS_UM = 300.0  # length scale of the distance between section and focal plane
_SHARPEN_UM = 1.0  # standard deviation of the mask that sharpening subtracts
_OUT_OF_PLANE_UM = (15.0, 2.5)  # distance between nuclei above one another, and the blur of those out of focus
_TILE = 256


def out_of_plane(nuclei: Array, imaging: Imaging, rng: np.random.Generator, mpp: float) -> Array:
    """Return the haematoxylin of nuclei above and below the plane that is in focus, (rows, columns).

    `nuclei` is that of the nuclei in the plane. Where a section is t > 1 times as thick as usual, t - 1 times as many
    nuclei lie outside of it, as dense as those nearby.
    """
    reach, blur = _OUT_OF_PLANE_UM
    angle = rng.uniform(0, 2 * np.pi)
    moved = np.roll(nuclei, np.rint(reach / mpp * np.array([np.sin(angle), np.cos(angle)])).astype(int), (0, 1))
    shown: Array = max(0.0, imaging.thickness - 1) * ndimage.gaussian_filter(moved, blur / mpp)
    return shown


def scan(light: Array, imaging: Imaging, rng: np.random.Generator, mpp: float) -> NDArray[np.uint8]:
    """Return the image that a scanner makes of the light behind a section, both (rows, columns, 3).

    Light is 1 without a section. The focus changes slowly over the slide.
    """
    away = np.clip(0.5 + 0.5 * smooth(rng, light.shape[:2], _FOCUS_UM / mpp), 0, 1)[..., None]
    light = light + away * (_blurred(light, imaging.defocus_um / mpp) - light)
    light = np.clip(light @ imaging.matrix.T, 0, None) ** imaging.gamma * imaging.white
    light += imaging.sharpening * (light - _blurred(light, _SHARPEN_UM / mpp))
    return _compressed(eight_bits(light), imaging.quality)


def eight_bits(light: Array) -> NDArray[np.uint8]:
    """Return light, 1 without a section, as whole numbers up to 255."""
    return np.clip(np.rint(255 * light), 0, 255).astype(np.uint8)


def _blurred(light: Array, sigma: float) -> Array:
    blurred: Array = ndimage.gaussian_filter(light, (sigma, sigma, 0))
    return blurred


def _compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return an image after JPEG compression in tiles, with colour at half the resolution, as scanners store it."""
    image = image.copy()
    for top in range(0, image.shape[0], _TILE):
        for left in range(0, image.shape[1], _TILE):
            tile, file = image[top : top + _TILE, left : left + _TILE], io.BytesIO()
            Image.fromarray(tile).save(file, "JPEG", quality=quality, subsampling="4:2:0")
            tile[:] = np.asarray(Image.open(file))
    return image
