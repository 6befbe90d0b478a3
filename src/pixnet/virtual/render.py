"""The image: dyes in matrix, cytoplasm and nuclei, the light that passes through them, a lens and a sensor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.virtual.cells import Cells, along_and_across
from pixnet.virtual.layout import Layout
from pixnet.virtual.noise import Seeds, fibres, smooth, stream
from pixnet.virtual.parameters import CellType, Stain, TissuePreset
from pixnet.virtual.scanner import eight_bits, out_of_plane, scan
from pixnet.virtual.shifts import Imaging

Array = NDArray[np.float64]


def render(
    preset: TissuePreset,
    layout: Layout,
    cells: Cells,
    outlines: NDArray[np.int32],
    footprints: NDArray[np.int32],
    seeds: Seeds,
    shape: tuple[int, int],
    mpp: float,
    imaging: Imaging | None = None,
) -> NDArray[np.uint8]:
    """Draw a tissue as a stained section, shape (rows, columns, 3).

    The image depends on zones and cells alone, and on no gene. `outlines` and `footprints` are the cells of each um^2
    with and without fat droplets, as `footprints` returns them. Without `imaging` every section is of the usual
    thickness, and the scanner adds nothing.
    """
    rng = stream("render", seeds.slide)
    haematoxylin, eosin = _ground(preset, layout, cells, outlines, footprints, rng, shape, mpp)
    if imaging is None:
        _nuclei(preset, cells, haematoxylin, eosin, rng, mpp)
        light = _light(preset.stain, haematoxylin, eosin, rng, seeds.donor, mpp)
        return np.stack([eight_bits(channel) for channel in light], axis=-1)
    own = stream("scanner", seeds.slide, seeds.donor)
    matrix = haematoxylin.copy()
    _nuclei(preset, cells, haematoxylin, eosin, rng, mpp)
    haematoxylin += out_of_plane(np.clip(haematoxylin - matrix, 0, None), imaging, own, mpp)
    dyes = imaging.thickness * haematoxylin, imaging.thickness * eosin
    return scan(np.stack([*_light(preset.stain, *dyes, rng, seeds.donor, mpp)], axis=-1), imaging, own, mpp)


def _ground(
    preset: TissuePreset,
    layout: Layout,
    cells: Cells,
    outlines: NDArray[np.int32],
    footprints: NDArray[np.int32],
    rng: np.random.Generator,
    shape: tuple[int, int],
    mpp: float,
) -> tuple[Array, Array]:
    """Stain matrix and cytoplasm; return haematoxylin and eosin in each pixel."""
    nearest = np.ix_(*(_nearest(n, m, mpp) for n, m in zip(shape, outlines.shape, strict=True)))
    zone, outline, cell = layout.zone[nearest], outlines[nearest], footprints[nearest]
    fine = smooth(rng, shape, 0.9 / mpp)
    strand = fibres(rng, layout.fibre[nearest], 14 / mpp, 1.1 / mpp)
    coarse = smooth(rng, shape, 12.0 / mpp)

    amplitude = np.array([z.fibres for z in preset.zones])[zone]
    matrix = np.clip(1 + amplitude * (0.8 * strand + 0.35 * coarse + 0.25 * fine), 0.03, None)
    # Loose matrix tears into clefts when a section is cut; they follow the fibres.
    matrix *= np.where(strand + 0.8 * coarse < np.where(amplitude < 0.25, -9.0, -2.8), 0.15, 1.0)
    opened = np.array([z.open for z in preset.zones])[zone]
    eosin = np.where(opened, 0.0, np.array([z.eosin for z in preset.zones])[zone] * matrix)
    haematoxylin = np.array([z.haematoxylin for z in preset.zones])[zone] * (1 + 0.3 * fine)

    # Every cell takes up a different amount of dye.
    kind = np.concatenate([[0], cells.kind])
    uptake = np.exp(0.12 * rng.standard_normal((2, kind.size)))
    cell_eosin = np.array([c.eosin for c in preset.cells])[kind] * uptake[0]
    cell_haematoxylin = np.array([c.basophilia for c in preset.cells])[kind] * uptake[1]
    texture = 1 + 0.12 * fine + 0.08 * coarse
    border = ndimage.maximum_filter(outlines, 3) != ndimage.minimum_filter(outlines, 3)
    edge = 1 + 0.1 * border[nearest]
    inside = cell > 0
    # Spindle cells and processes are embedded in the matrix: part of it shows through.
    eosin = np.where(inside, 0.75 * cell_eosin[cell] * texture * edge + 0.25 * eosin, eosin)
    haematoxylin = np.where(inside, cell_haematoxylin[cell] * texture, haematoxylin)
    droplet = (outline > 0) & ~inside
    eosin[droplet] = 0.0
    haematoxylin[droplet] = 0.0
    return np.clip(haematoxylin, 0, None), eosin


def _nearest(pixels: int, length_um: int, mpp: float) -> NDArray[np.intp]:
    """Return the index of the um that contains the centre of each pixel along one axis."""
    return np.minimum(((np.arange(pixels) + 0.5) * mpp).astype(np.intp), length_um - 1)


def _nuclei(
    preset: TissuePreset, cells: Cells, haematoxylin: Array, eosin: Array, rng: np.random.Generator, mpp: float
) -> None:
    """Add nuclei and mucin drops to the two dyes in place, each in a small window."""
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
        window = _window(shape, cells.nucleus_xy_um[i], 1.35 * axes[0] + mpp, mpp)
        if window is None:
            continue
        u, v = along_and_across(window, cells.nucleus_xy_um[i], cells.nucleus_angle[i], mpp)
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
    """Return the haematoxylin in a nucleus: a rim under its membrane and clumps inside."""
    rim = np.exp(-(((inner - 0.12) / 0.12) ** 2))
    stain: Array = look.chromatin * np.clip(0.9 + 0.8 * look.clumping * clump + 0.22 * rim, 0.5, None)
    return stain


def _mucin(cells: Cells, i: int, haematoxylin: Array, eosin: Array, mpp: float) -> None:
    """Draw the drop of mucin in a goblet cell, which is pale and a little blue."""
    length, width = cells.axes_um[i] * (0.58, 0.88)
    ahead = 0.3 * cells.axes_um[i, 0] * np.array([np.cos(cells.angle[i]), np.sin(cells.angle[i])])
    centre = cells.xy_um[i] + ahead
    window = _window(haematoxylin.shape, centre, length + mpp, mpp)
    if window is None:
        return
    u, v = along_and_across(window, centre, cells.angle[i], mpp)
    cover = np.clip((1 - np.hypot(u / length, v / width)) * width / mpp + 0.5, 0, 1)
    haematoxylin[window] += cover * (0.16 - haematoxylin[window])
    eosin[window] *= 1 - 0.85 * cover


def _window(shape: tuple[int, int], centre_um: Array, reach_um: float, mpp: float) -> tuple[slice, slice] | None:
    """Return rows and columns of the pixels around a place; None if there are none in the image."""
    left, top = np.maximum(np.floor((centre_um - reach_um) / mpp), 0).astype(int)
    right, bottom = np.minimum(np.ceil((centre_um + reach_um) / mpp), shape[::-1]).astype(int)
    if left >= right or top >= bottom:
        return None
    return slice(top, bottom), slice(left, right)


def donor_stain(stain: Stain, donor_seed: int) -> tuple[Array, Array]:
    """Return the directions of the dyes' optical density for a donor, unit vectors (2, 3), and their amounts (2,)."""
    rng = stream("donor", donor_seed)
    directions = np.array([stain.haematoxylin, stain.eosin])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    aside = rng.standard_normal((2, 3))
    aside -= (aside * directions).sum(axis=1, keepdims=True) * directions
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    turn = np.deg2rad(stain.hue_sd_degrees) * rng.standard_normal((2, 1))
    amounts: Array = np.exp(stain.amount_sd * rng.standard_normal(2))
    return np.clip(np.cos(turn) * directions + np.sin(turn) * aside, 0, None), amounts


def _light(
    stain: Stain, haematoxylin: Array, eosin: Array, rng: np.random.Generator, donor_seed: int, mpp: float
) -> Iterator[Array]:
    """Yield the light that passes through a section (Beer-Lambert), blurred, with noise, channel by channel."""
    directions, amounts = donor_stain(stain, donor_seed)
    thickness = 1 + stain.thickness_sd * smooth(rng, haematoxylin.shape, stain.thickness_um / mpp)
    for channel in range(3):
        density = amounts[0] * directions[0, channel] * haematoxylin + amounts[1] * directions[1, channel] * eosin
        light = 0.955 * np.exp(-density * thickness)
        light = ndimage.gaussian_filter(light, stain.blur_um / mpp)
        # Photon noise grows with the square root of the light.
        light += stain.noise * np.sqrt(light) * rng.standard_normal(light.shape)
        yield light
