"""Cells of a virtual tissue: their places, their sizes, and the part of the tissue that belongs to each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse, spatial

from pixnet.virtual.layout import Layout
from pixnet.virtual.parameters import Population, TissuePreset

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """The n cells of one tissue."""

    kind: NDArray[np.intp]  # indices of the types in the preset, shape (n,)
    xy_um: Array  # centres, shape (n, 2)
    angle: Array  # directions of the long axes in radians, shape (n,)
    axes_um: Array  # half-axes, shape (n, 2)
    nucleus_xy_um: Array  # centres of the nuclei, shape (n, 2)
    nucleus_um: Array  # half-axes of the nuclei, shape (n, 2)
    nucleus_angle: Array  # directions of the nuclei in radians, shape (n,)
    niche: Array  # smooth niche coordinates at the centres, shape (n, 2)

    def __len__(self) -> int:
        return int(self.kind.size)


def place_cells(preset: TissuePreset, layout: Layout, rng: np.random.Generator) -> Cells:
    """Place the cells of a tissue by simple sequential inhibition.

    Candidates come in random order, uniformly distributed over the places where their population may live. A candidate
    is accepted if no accepted one is within its hard core, until the population's density is reached.
    """
    kinds, points = [], []
    blocked = np.zeros(layout.zone.shape, bool)
    # Fat cells are placed first: they are ten times as wide as other cells, which then stay out of their droplets.
    fat_cells = {cell.name for cell in preset.cells if cell.vacuole == "fat"}
    for is_fat in (True, False):
        populations = [p for p in preset.populations if (p.cell in fat_cells) == is_fat]
        kind, xy = _sequential_inhibition(preset, populations, layout, blocked, rng)
        kinds.append(kind)
        points.append(xy)
        if is_fat:
            centres = np.ones(layout.zone.shape, bool)
            centres[tuple(np.floor(xy[:, ::-1]).astype(int).T)] = False
            if xy.size:
                blocked = ndimage.distance_transform_edt(centres) < 38.0
    return _shaped(preset, layout, np.concatenate(kinds), np.concatenate(points), rng)


def _sequential_inhibition(
    preset: TissuePreset,
    populations: list[Population],
    layout: Layout,
    blocked: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], Array]:
    """Place several populations at once; return the type and the centre of every cell."""
    group, xy, target = [], [], []
    for i, population in enumerate(populations):
        zone = layout.zone == preset.zone_names.index(population.zone)
        target.append(round(population.per_mm2 * zone.sum() / 1e6))
        home = zone & ~blocked
        if population.depth_um is not None:
            home &= (layout.depth >= population.depth_um[0]) & (layout.depth <= population.depth_um[1])
        rows, cols = np.nonzero(home)
        count = 5 * target[-1] if rows.size else 0
        pick = rng.integers(max(rows.size, 1), size=count)
        xy.append(np.stack([cols[pick], rows[pick]], axis=1) + rng.random((count, 2)))
        group.append(np.full(count, i))
    order = rng.permutation(sum(g.size for g in group))
    groups = np.concatenate([*group, np.empty(0, int)])[order].astype(int)
    points = np.concatenate([*xy, np.empty((0, 2))])[order]
    if not groups.size:
        return np.empty(0, np.intp), np.empty((0, 2))

    radius = np.array([p.spacing_um / 2 for p in populations])[groups]
    pairs = spatial.cKDTree(points).query_pairs(2 * radius.max(), output_type="ndarray")
    gap = np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T)
    pairs = pairs[gap < radius[pairs[:, 0]] + radius[pairs[:, 1]]]
    # Row i: the later candidates that candidate i excludes if it is accepted.
    later = sparse.csr_array((np.ones(len(pairs), bool), (pairs.min(axis=1), pairs.max(axis=1))), (groups.size,) * 2)
    alive = np.ones(groups.size, bool)
    missing = target.copy()
    for i, g in enumerate(groups):
        if alive[i] and missing[g]:
            missing[g] -= 1
            alive[later.indices[later.indptr[i] : later.indptr[i + 1]]] = False
        else:
            alive[i] = False
    kind = np.array([preset.cell_names.index(p.cell) for p in populations])[groups[alive]]
    return kind.astype(np.intp), points[alive]


def _shaped(preset: TissuePreset, layout: Layout, kind: NDArray[np.intp], xy: Array, rng: np.random.Generator) -> Cells:
    """Return the cells with direction, size and nucleus."""
    count = kind.size
    row, col = np.floor(xy[:, ::-1]).astype(int).T
    fibre, inward = layout.fibre[row, col], layout.inward[row, col]
    free = rng.uniform(0, 2 * np.pi, count)
    direction = np.array([cell.direction for cell in preset.cells], dtype=object)[kind]
    directions = [direction == "fibre", direction == "normal", direction == "tangent"]
    angle = np.select(directions, [fibre, inward, inward + np.pi / 2], free) + rng.normal(0, 0.14, count)

    # Nucleus and cell vary together, but the cell a little less.
    spread = np.array([cell.size_sd for cell in preset.cells])[kind]
    size = np.exp(spread * rng.standard_normal(count))
    stretch = np.exp(0.08 * rng.standard_normal((count, 1)) * [1, -1])
    nucleus = np.array([cell.nucleus_um for cell in preset.cells])[kind] / 2 * size[:, None] * stretch
    axes = np.array([cell.cell_um for cell in preset.cells])[kind] / 2 * (size**0.7)[:, None]

    shift = np.array([cell.nucleus_shift for cell in preset.cells])[kind] * axes[:, 0]
    nucleus_xy = xy - shift[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    nucleus_angle = angle.copy()
    fat = np.array([cell.vacuole == "fat" for cell in preset.cells])[kind]
    nucleus_xy[fat], nucleus_angle[fat] = _on_walls(xy[fat], axes[fat, 0], angle[fat])
    niche = layout.niche[:, row, col].T.astype(np.float64)
    return Cells(kind, xy, angle, axes, nucleus_xy, nucleus, nucleus_angle, niche)


def _on_walls(xy: Array, radius: Array, angle: Array) -> tuple[Array, Array]:
    """Place the nuclei of fat cells along the wall to their nearest neighbour, or anywhere on the wall without one."""
    distance = radius - 1.5
    if len(xy) > 1:
        gap, other = (np.asarray(column)[:, 1] for column in spatial.cKDTree(xy).query(xy, k=2))
        wall = gap * radius / (radius + radius[other])
        step = xy[other] - xy
        touching = wall < distance
        angle = np.where(touching, np.arctan2(step[:, 1], step[:, 0]), angle)
        distance = np.where(touching, wall, distance)
    return xy + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), angle + np.pi / 2


def footprints(preset: TissuePreset, layout: Layout, cells: Cells) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the cells that own each um^2, as 1 + index, with and without fat droplets, (rows, columns) each.

    A pixel of 1 um belongs to the cell in whose ellipse it is deepest. So cells are bounded, and neighbours meet at a
    border like that of a Voronoi diagram. Lumens belong to no cell. Fat droplets are parts of their cells, but contain
    no RNA. A pixel without a cell is 0.
    """
    shape = layout.zone.shape
    nearest = np.ones(shape, np.float32)
    outlines = np.zeros(shape, np.int32)
    reach = cells.axes_um.max(axis=1) + 1
    low = np.maximum(np.floor(cells.xy_um - reach[:, None]).astype(int), 0)
    high = np.minimum(np.ceil(cells.xy_um + reach[:, None]).astype(int), shape[::-1])
    for i in range(len(cells)):
        (left, top), (right, bottom) = low[i], high[i]
        window = (slice(top, bottom), slice(left, right))
        u, v = along_and_across(window, cells.xy_um[i], cells.angle[i], 1.0)
        far = (u / cells.axes_um[i, 0]) ** 2 + (v / cells.axes_um[i, 1]) ** 2
        closer = far < nearest[window]
        nearest[window][closer] = far[closer]
        outlines[window][closer] = i + 1
    opened = np.array([zone.open for zone in preset.zones])[layout.zone]
    outlines[opened] = 0

    fat = np.array([False, *(preset.cells[k].vacuole == "fat" for k in cells.kind)])
    droplet = fat[outlines] & (ndimage.maximum_filter(outlines, 3) == ndimage.minimum_filter(outlines, 3))
    return outlines, np.where(droplet, 0, outlines).astype(np.int32)


def along_and_across(
    window: tuple[slice, slice], centre_um: Array, angle: float, um_per_px: float
) -> tuple[Array, Array]:
    """Return how far pixels (rows, columns) are from a centre (2,), along and across a direction in radians, in um."""
    rows, columns = window
    x = (np.arange(columns.start, columns.stop) + 0.5) * um_per_px - centre_um[0]
    y = ((np.arange(rows.start, rows.stop) + 0.5) * um_per_px - centre_um[1])[:, None]
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * x + sine * y, cosine * y - sine * x
