"""Zones of a virtual tissue: ducts, crypts, layers and what is between them.

A layout is drawn with pixels of 1 um, independently of the resolution of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pixnet.virtual.noise import smooth
from pixnet.virtual.parameters import TissuePreset

Field = NDArray[np.float32]
Shape = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """The zones of a tissue, as arrays (rows, columns) with one value per um^2."""

    zone: NDArray[np.uint8]  # index of the zone in the preset
    depth: Field  # distance to the outer border of glands and vessels, in um
    inward: Field  # direction away from that border, in radians
    fibre: Field  # direction of fibres, in radians
    niche: Field  # smooth coordinates of order one that expression depends on, shape (2, rows, columns)


def draw_layout(preset: TissuePreset, rng: np.random.Generator, shape: Shape) -> Layout:
    """Draw the zones of one tissue; `shape` is its height and width in um."""
    code = {name: np.uint8(i) for i, name in enumerate(preset.zone_names)}
    return _LAYOUTS[preset.layout](code, rng, shape)


def _distance(mask: NDArray[np.bool_]) -> Field:
    """Return the distance of every pixel to the nearest one of the mask, in um; 10 mm if the mask is empty."""
    distance = np.full(mask.shape, 1e4, np.float32)
    if mask.any():
        distance[:] = ndimage.distance_transform_edt(~mask)
    return distance


def _towards(depth: Field) -> Field:
    """Return the direction in which a depth grows, in radians."""
    soft = ndimage.gaussian_filter(depth, 2.0)
    direction: Field = np.arctan2(np.gradient(soft, axis=0), np.gradient(soft, axis=1)).astype(np.float32)
    return direction


def _places(rng: np.random.Generator, allowed: NDArray[np.bool_], count: int, apart: float) -> list[tuple[int, int]]:
    """Draw up to `count` places (row, column) inside a mask, none nearer to another than `apart`."""
    rows, cols = np.nonzero(allowed)
    places: list[tuple[int, int]] = []
    for _ in range(count * 20):
        if len(places) == count or not rows.size:
            break
        pick = int(rng.integers(rows.size))
        row, col = int(rows[pick]), int(cols[pick])
        if all(np.hypot(row - r, col - c) >= apart for r, c in places):
            places.append((row, col))
    return places


def _blob(shape: Shape, row: float, col: float, radius: float, wobble: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the mask of a disk whose outline follows a smooth noise."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(y - row, x - col) < radius + wobble)


def _rotated(rng: np.random.Generator, shape: Shape, most_degrees: float) -> tuple[Field, Field]:
    """Return coordinates from the tissue's centre, in um, turned by a random angle and mirrored or not."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    y -= shape[0] / 2
    x -= shape[1] / 2
    angle = np.deg2rad(rng.uniform(-most_degrees, most_degrees))
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    along = mirror * (np.cos(angle) * x + np.sin(angle) * y)
    down = np.cos(angle) * y - np.sin(angle) * x
    return along.astype(np.float32), down.astype(np.float32)


def _breast(code: dict[str, np.uint8], rng: np.random.Generator, shape: Shape) -> Layout:
    along, _ = _rotated(rng, shape, 180.0)
    front = along + 70 * smooth(rng, shape, 90.0) + rng.uniform(-0.12, 0.12) * shape[1]
    invaded = front > 0
    # Nests of carcinoma are the peaks of a smooth noise; they are larger and denser behind the front.
    ridge = smooth(rng, shape, 26.0) + 0.35 * smooth(rng, shape, 9.0)
    tumour = invaded & (ridge > 0.55 - 0.5 * np.clip(front / 300, 0, 1))

    wobble = 7 * smooth(rng, shape, 18.0)
    healthy = front < -40
    ducts = np.zeros(shape, bool)
    area_mm2 = healthy.sum() / 1e6
    for row, col in _places(rng, healthy, round(6 * area_mm2) + 1, 190.0):
        ducts |= _blob(shape, row, col, rng.uniform(38, 75), wobble)
    # A lobule is a cluster of acini.
    for row, col in _places(rng, healthy & (_distance(ducts) > 90), round(6 * area_mm2) + 1, 200.0):
        for dr, dc in rng.normal(0, 42, (int(rng.integers(9, 15)), 2)):
            ducts |= _blob(shape, row + dr, col + dc, rng.uniform(15, 26), 0.35 * wobble)
    ducts &= front < 0
    depth = _distance(~ducts)
    thickness = 17 + 3 * smooth(rng, shape, 30.0)

    fat = (smooth(rng, shape, 75.0) > 0.35) & (front < -20) & (_distance(ducts) > 30)
    immune = np.zeros(shape, bool)
    for row, col in _places(rng, abs(front) < 110, round(5 * shape[0] * shape[1] / 1e6) + 1, 160.0):
        immune |= _blob(shape, row, col, rng.uniform(30, 70), 10 * smooth(rng, shape, 20.0))
    vessels, vessel_depth = _vessels(rng, shape, ~(ducts | tumour | fat), 9, (5.0, 16.0))

    zone = np.full(shape, code["stroma"], np.uint8)
    zone[fat] = code["fat"]
    zone[immune] = code["immune"]
    zone[tumour] = code["tumour"]
    zone[vessels & (vessel_depth > 3)] = code["lumen"]
    zone[ducts] = code["duct"]
    zone[ducts & (depth > thickness)] = code["lumen"]

    glands = _distance(ducts | tumour)
    niche = np.stack([2 * np.exp(-glands / 60) - 1, np.tanh(front / 150)]).astype(np.float32)
    # Collagen runs around the glands near them and in a smooth direction of its own elsewhere.
    around = _towards(glands) + np.pi / 2
    elsewhere = np.pi * smooth(rng, shape, 110.0)
    fibre = _mixed(around, elsewhere.astype(np.float32), np.exp(-glands / 35))
    return Layout(zone, depth, _towards(depth), fibre, niche)


def _colon(code: dict[str, np.uint8], rng: np.random.Generator, shape: Shape) -> Layout:
    along, down = _rotated(rng, shape, 20.0)
    bend = 25 * smooth(rng, shape, 200.0)
    depth_in_wall = down + 0.5 * shape[0] + bend - rng.uniform(40, 110) * min(1.0, shape[0] / 1000)
    # Crypts are 372 to 506 um long (Arai et al., 1989) if the tissue is tall enough, and about 100 per mm^2, so 100 um
    # apart.
    length = rng.uniform(370, 500) * min(1.0, shape[0] / 800)
    pitch = rng.uniform(82, 98)
    sway = 9 * smooth(rng, shape, 60.0)
    place = (along + sway + rng.uniform(0, pitch)) / pitch
    number = np.floor(place)
    # Each crypt ends at its own depth. About 23 cells of 7 um around it make it about 52 um wide.
    variation = rng.uniform(-1, 1, (2, 4096))
    pick = number.astype(int) % 4096
    bottom = length + 35 * variation[0, pick]
    aside = (place - number - 0.5) * pitch
    below = np.maximum(0.0, depth_in_wall - (bottom - 28))
    radius = 27.5 + 1.5 * variation[1, pick] + 1.5 * smooth(rng, shape, 25.0)
    gland = (np.hypot(aside, below) < radius) & (depth_in_wall > 0)
    surface = (depth_in_wall > 0) & (depth_in_wall < 24)
    outside = depth_in_wall <= 0
    epithelium = gland | surface
    # The depth is measured from the basement membrane, so the space above the tissue is part of the inside.
    depth = _distance(~(epithelium | outside))

    zone = np.full(shape, code["lamina propria"], np.uint8)
    mucosa = length + 45
    zone[depth_in_wall > mucosa] = code["muscle"]
    zone[depth_in_wall > mucosa + 40] = code["submucosa"]
    zone[depth_in_wall > mucosa + 40 + rng.uniform(190, 260)] = code["muscle"]
    fat = (zone == code["submucosa"]) & (smooth(rng, shape, 60.0) > 0.75)
    zone[fat] = code["fat"]
    follicle = np.zeros(shape, bool)
    near = abs(depth_in_wall - mucosa + 40) < 50
    for row, col in _places(rng, near, max(1, round(1.2 * shape[1] / 1000)), 350.0):
        follicle |= _blob(shape, row, col, rng.uniform(75, 120), 12 * smooth(rng, shape, 30.0))
    zone[follicle] = code["follicle"]
    vessels, vessel_depth = _vessels(rng, shape, zone == code["submucosa"], 8, (6.0, 22.0))
    zone[vessels & (vessel_depth > 3)] = code["lumen"]
    crypts = epithelium & ~follicle
    zone[crypts] = code["crypt"]
    zone[(crypts & (depth > 24)) | outside] = code["lumen"]

    axis = 1 - 2 * np.clip(depth_in_wall / length, 0, 1.5)
    niche = np.stack([axis, 2 * np.exp(-_distance(follicle) / 120) - 1]).astype(np.float32)
    # Muscle runs along the wall (with a gentle wave); the matrix between crypts runs with them.
    wall = _towards(depth_in_wall.astype(np.float32))
    wave = (0.35 * smooth(rng, shape, 60.0)).astype(np.float32)
    turn = np.where(zone == code["lamina propria"], 0.0, np.pi / 2).astype(np.float32)
    turn += np.where(zone == code["submucosa"], 1.6, 1.0).astype(np.float32) * wave
    return Layout(zone, depth, _towards(depth), (wall + turn).astype(np.float32), niche)


def _cortex(code: dict[str, np.uint8], rng: np.random.Generator, shape: Shape) -> Layout:
    _, down = _rotated(rng, shape, 25.0)
    depth_in_wall = down + 0.5 * shape[0] - rng.uniform(-10, 30) + 22 * smooth(rng, shape, 180.0)
    # The cortex of a mouse is not quite 1 mm thick; the image shows it and the white matter below it.
    part = depth_in_wall / (rng.uniform(0.74, 0.86) * shape[0])
    blurred = part + 0.012 * smooth(rng, shape, 12.0)
    zone = np.full(shape, code["layer 1"], np.uint8)
    for name, start in (("upper layers", 0.13), ("layer 4", 0.40), ("deep layers", 0.55)):
        zone[blurred > start] = code[name]
    zone[part > 1] = code["white matter"]
    count = round(28 * shape[0] * shape[1] / 1e6)
    vessels, depth = _vessels(rng, shape, part > 0.01, count, (4.5, 13.0))
    zone[vessels] = code["vessel wall"]
    zone[vessels & (depth > 2.5)] = code["lumen"]
    zone[part < 0] = code["lumen"]
    near = _distance(vessels)
    niche = np.stack([2 * np.clip(part, 0, 1.2) - 1, 2 * np.exp(-near / 40) - 1]).astype(np.float32)
    wall = _towards(depth_in_wall.astype(np.float32))
    wave = (0.3 * smooth(rng, shape, 70.0)).astype(np.float32)
    fibre = wall + np.where(part > 1, np.pi / 2, 0.0).astype(np.float32) + wave
    # Pyramidal neurons point to the surface; the cells of a vessel's wall surround the vessel.
    inward = np.where(vessels, _towards(depth), wall + np.pi)
    return Layout(zone, depth, inward.astype(np.float32), fibre.astype(np.float32), niche)


def _vessels(
    rng: np.random.Generator, shape: Shape, allowed: NDArray[np.bool_], count: int, radius: tuple[float, float]
) -> tuple[NDArray[np.bool_], Field]:
    """Draw small vessels, cut at any angle; return their mask and the depth below their outer border, in um."""
    mask = np.zeros(shape, bool)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for row, col in _places(rng, allowed, count, 60.0):
        angle = rng.uniform(0, np.pi)
        small = radius[0] + (radius[1] - radius[0]) * rng.random() ** 2
        large = small * rng.uniform(1.0, 2.5)
        u = (x - col) * np.cos(angle) + (y - row) * np.sin(angle)
        v = (y - row) * np.cos(angle) - (x - col) * np.sin(angle)
        mask |= (u / large) ** 2 + (v / small) ** 2 < 1
    mask &= allowed
    return mask, _distance(~mask)


def _mixed(first: Field, second: Field, weight: NDArray[np.floating]) -> Field:
    """Return the mean of two directions that have no sign, in radians; the weight is that of the first."""
    sine = weight * np.sin(2 * first) + (1 - weight) * np.sin(2 * second)
    cosine = weight * np.cos(2 * first) + (1 - weight) * np.cos(2 * second)
    return (0.5 * np.arctan2(sine, cosine)).astype(np.float32)


_LAYOUTS: dict[str, Callable[[dict[str, np.uint8], np.random.Generator, Shape], Layout]] = {
    "breast": _breast,
    "colon": _colon,
    "cortex": _cortex,
}
