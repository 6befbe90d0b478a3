"""The picture: dyes in matrix, cytoplasm and nuclei, light through them, a lens and a sensor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.virtual.cells import Cells
from pixnet.virtual.layout import Layout
from pixnet.virtual.noise import fibres, smooth, stream
from pixnet.virtual.parameters import CellType, Stain, TissuePreset

Array = NDArray[np.float64]


def render(
    preset: TissuePreset,
    layout: Layout,
    cells: Cells,
    outlines: NDArray[np.int32],
    footprints: NDArray[np.int32],
    *,
    seed: int,
    donor_seed: int,
    shape: tuple[int, int],
    mpp: float,
) -> NDArray[np.uint8]:
    """Draw a tissue as a stained section.

    Nothing here sees a gene: the picture is a function of zones and cells alone.

    Parameters
    ----------
    preset, layout, cells, outlines, footprints
        The tissue.
    seed, donor_seed
        Seeds of the slide (texture, noise) and of the donor (stain).
    shape
        Rows and columns of the picture.
    mpp
        um per pixel.

    Returns
    -------
    (rows, columns, 3) uint8
    """
    rng = stream("render", seed)
    haematoxylin, eosin = _ground(preset, layout, outlines, footprints, cells, rng, shape, mpp)
    _nuclei(preset, cells, haematoxylin, eosin, rng, mpp)
    return _light(preset.stain, haematoxylin, eosin, rng, stream("donor", donor_seed), mpp)


def _ground(
    preset: TissuePreset,
    layout: Layout,
    outlines: NDArray[np.int32],
    footprints: NDArray[np.int32],
    cells: Cells,
    rng: np.random.Generator,
    shape: tuple[int, int],
    mpp: float,
) -> tuple[Array, Array]:
    """Stain matrix and cytoplasm."""
    here = np.ix_(*(_nearest(n, m, mpp) for n, m in zip(shape, outlines.shape, strict=True)))
    zone, outline, cell = layout.zone[here], outlines[here], footprints[here]
    fine = smooth(rng, shape, 0.9 / mpp)
    strand = fibres(rng, layout.fibre[here], 14 / mpp, 1.1 / mpp)
    coarse = smooth(rng, shape, 12.0 / mpp)

    amplitude = np.array([z.fibres for z in preset.zones])[zone]
    matrix = np.clip(1 + amplitude * (0.8 * strand + 0.35 * coarse + 0.25 * fine), 0.03, None)
    # Loose matrix tears into clefts when a section is cut; they follow the fibres.
    matrix *= np.where(strand + 0.8 * coarse < np.where(amplitude < 0.25, -9.0, -2.8), 0.15, 1.0)
    opened = np.array([z.open for z in preset.zones])[zone]
    eosin = np.where(opened, 0.0, np.array([z.eosin for z in preset.zones])[zone] * matrix)
    haematoxylin = np.array([z.haematoxylin for z in preset.zones])[zone] * (1 + 0.3 * fine)

    # Every cell takes up dye in its own measure.
    kind = np.concatenate([[0], cells.kind])
    own = np.exp(0.12 * rng.standard_normal((2, kind.size)))
    in_eosin = np.array([c.eosin for c in preset.cells])[kind] * own[0]
    in_blue = np.array([c.basophilia for c in preset.cells])[kind] * own[1]
    texture = 1 + 0.12 * fine + 0.08 * coarse
    border = ndimage.maximum_filter(outlines, 3) != ndimage.minimum_filter(outlines, 3)
    edge = 1 + 0.1 * border[here]
    inside = cell > 0
    # Spindle cells and processes lie within their matrix: part of it shows through.
    eosin = np.where(inside, 0.75 * in_eosin[cell] * texture * edge + 0.25 * eosin, eosin)
    haematoxylin = np.where(inside, in_blue[cell] * texture, haematoxylin)
    droplet = (outline > 0) & ~inside
    eosin[droplet] = 0.0
    haematoxylin[droplet] = 0.0
    return np.clip(haematoxylin, 0, None), eosin


def _nearest(pixels: int, length_um: int, mpp: float) -> NDArray[np.intp]:
    """Give, for each pixel of a row, the um in which its centre lies."""
    return np.minimum(((np.arange(pixels) + 0.5) * mpp).astype(np.intp), length_um - 1)


def _nuclei(
    preset: TissuePreset, cells: Cells, haematoxylin: Array, eosin: Array, rng: np.random.Generator, mpp: float
) -> None:
    """Draw nuclei (and mucin drops) into the two dyes, each in its own small window."""
    shape = haematoxylin.shape
    count = len(cells)
    clump = smooth(rng, shape, 0.75 / mpp) * 0.8 + smooth(rng, shape, 1.6 / mpp) * 0.6
    rough = rng.standard_normal((count, 4, 2))
    depth = np.exp(0.16 * rng.standard_normal(count))
    nucleoli = rng.uniform(-0.35, 0.35, (count, 2))
    clumping = np.exp(0.3 * rng.standard_normal(count))
    for i in range(count):
        look = preset.cells[cells.kind[i]]
        if look.vacuole == "mucin":
            _mucin(cells, i, haematoxylin, eosin, mpp)
        axes = cells.nucleus_um[i]
        found = _window(shape, cells.nucleus_xy_um[i], 1.35 * axes[0] + mpp, cells.nucleus_angle[i], mpp)
        if found is None:
            continue
        window, u, v = found
        theta = np.arctan2(v / axes[1], u / axes[0])
        far = np.hypot(u / axes[0], v / axes[1])
        outline = 1.0 + look.irregularity * sum(
            (rough[i, k - 2, 0] * np.cos(k * theta) + rough[i, k - 2, 1] * np.sin(k * theta)) / np.sqrt(k)
            for k in range(2, 6)
        )
        inner = np.clip(outline, 0.6, 1.3) - far
        # Coverage of a pixel by the nucleus, from the distance to its outline.
        cover = np.clip(inner * axes[1] / mpp + 0.5, 0, 1)
        stain = _chromatin(look, inner, clump[window] * clumping[i])
        if look.nucleolus:
            spot = ((u / axes[0] - nucleoli[i, 0]) * axes[0]) ** 2 + ((v / axes[1] - nucleoli[i, 1]) * axes[1]) ** 2
            stain = stain + look.nucleolus * np.exp(-spot / (2 * 0.75**2))
        haematoxylin[window] += cover * (depth[i] * stain - haematoxylin[window])
        eosin[window] *= 1 - 0.65 * cover


def _chromatin(look: CellType, inner: Array, clump: Array) -> Array:
    """Give the haematoxylin in a nucleus: a rim under its membrane and clumps inside."""
    rim = np.exp(-(((inner - 0.12) / 0.12) ** 2))
    stain: Array = look.chromatin * np.clip(0.9 + 0.8 * look.clumping * clump + 0.22 * rim, 0.5, None)
    return stain


def _mucin(cells: Cells, i: int, haematoxylin: Array, eosin: Array, mpp: float) -> None:
    """Draw the drop of mucin in a goblet cell: pale, a little blue."""
    length, width = cells.axes_um[i] * (0.58, 0.88)
    ahead = 0.3 * cells.axes_um[i, 0] * np.array([np.cos(cells.angle[i]), np.sin(cells.angle[i])])
    found = _window(haematoxylin.shape, cells.xy_um[i] + ahead, length + mpp, cells.angle[i], mpp)
    if found is None:
        return
    window, u, v = found
    cover = np.clip((1 - np.hypot(u / length, v / width)) * width / mpp + 0.5, 0, 1)
    haematoxylin[window] += cover * (0.16 - haematoxylin[window])
    eosin[window] *= 1 - 0.85 * cover


def _window(
    shape: tuple[int, int], centre_um: Array, reach_um: float, angle: float, mpp: float
) -> tuple[tuple[slice, slice], Array, Array] | None:
    """Give the pixels around a place, and their coordinates along and across a direction, in um."""
    left, top = np.maximum(np.floor((centre_um - reach_um) / mpp), 0).astype(int)
    right, bottom = np.minimum(np.ceil((centre_um + reach_um) / mpp), shape[::-1]).astype(int)
    if left >= right or top >= bottom:
        return None
    x = (np.arange(left, right) + 0.5) * mpp - centre_um[0]
    y = ((np.arange(top, bottom) + 0.5) * mpp - centre_um[1])[:, None]
    cosine, sine = np.cos(angle), np.sin(angle)
    return (slice(top, bottom), slice(left, right)), cosine * x + sine * y, cosine * y - sine * x


def donor_stain(stain: Stain, donor_seed: int) -> tuple[Array, Array]:
    """Give a donor's optical density directions and amounts.

    Parameters
    ----------
    stain
        The preset's optics and dyes.
    donor_seed
        Seed of the donor.

    Returns
    -------
    directions : (2, 3)
        Unit vectors in red, green and blue of haematoxylin and of eosin.
    amounts : (2,)
        Relative amounts of both.
    """
    return _donor_stain(stain, stream("donor", donor_seed))


def _donor_stain(stain: Stain, rng: np.random.Generator) -> tuple[Array, Array]:
    directions = np.array([stain.haematoxylin, stain.eosin])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    aside = rng.standard_normal((2, 3))
    aside -= (aside * directions).sum(axis=1, keepdims=True) * directions
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    turn = np.deg2rad(stain.hue_sd_degrees) * rng.standard_normal((2, 1))
    amounts: Array = np.exp(stain.amount_sd * rng.standard_normal(2))
    return np.clip(np.cos(turn) * directions + np.sin(turn) * aside, 0, None), amounts


def _light(
    stain: Stain, haematoxylin: Array, eosin: Array, rng: np.random.Generator, donor: np.random.Generator, mpp: float
) -> NDArray[np.uint8]:
    """Send light through the section (Beer-Lambert), blur it, and record it with noise."""
    directions, amounts = _donor_stain(stain, donor)
    thickness = 1 + stain.thickness_sd * smooth(rng, haematoxylin.shape, stain.thickness_um / mpp)
    image = np.empty((*haematoxylin.shape, 3), np.uint8)
    for channel in range(3):
        density = amounts[0] * directions[0, channel] * haematoxylin + amounts[1] * directions[1, channel] * eosin
        light = 0.955 * np.exp(-density * thickness)
        light = ndimage.gaussian_filter(light, stain.blur_um / mpp)
        # Photon noise grows with the square root of the light.
        light += stain.noise * np.sqrt(light) * rng.standard_normal(light.shape)
        image[..., channel] = np.clip(np.rint(255 * light), 0, 255)
    return image
