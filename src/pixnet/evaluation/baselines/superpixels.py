"""What a slide looks like on a grid of 8-um super-pixels: the encoder's pyramid and the colour of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.evaluation.baselines.crops import colour_channels, frozen_encoder
from pixnet.grid import Box, Grid, Lattice

if TYPE_CHECKING:
    from pixnet.regions import Regions
    from pixnet.slide import Slide

PITCH_UM = 8.0
"""Side of a super-pixel, in um."""

GROUPS = (16, 24, 40, 112, 320, 18)
"""Sizes of the groups of features: the stages of the encoder, then mean and deviation of nine colour channels."""

_UM_PER_PX = 1.0
_SIDE = 8  # pixels of a super-pixel
_CORE, _HALO = 1024, 192

Piece = tuple[NDArray[np.int64], "sparse.csr_array[np.float64]", NDArray[np.float32]]


def superpixels_under(slide: Slide, regions: Regions) -> Iterator[Piece]:
    """Go over a slide in tiles and give the super-pixels that lie under some regions.

    Super-pixels and tiles lie on one lattice that begins at the slide's origin, so the features of a super-pixel are
    the same whatever regions are asked for. The pyramid is computed with 192 um of surroundings: all that the fine
    stages can see, and most of what the deepest can.

    Parameters
    ----------
    slide
        What lies beyond its edge is white.
    regions
        n regions.

    Yields
    ------
    rows, areas, features
        Which regions have a part in this tile, (k,); how many um^2 of each super-pixel lie in each, (k, m);
        the super-pixels' features, (m, sum(GROUPS)) float32. Every super-pixel has a part in some region.
    """
    left, top, right, bottom = regions.bounds_um.T
    lattice = Lattice(slide.width_um, slide.height_um, _UM_PER_PX, stride=32, halo=_HALO)
    for box in lattice.tiles(_CORE):
        grid = Grid(box.col * _UM_PER_PX, box.row * _UM_PER_PX, PITCH_UM, box.height // _SIDE, box.width // _SIDE)
        x0, y0, x1, y1 = grid.bounds_um
        near = np.flatnonzero((left < x1) & (right > x0) & (top < y1) & (bottom > y0))
        if not len(near):
            continue
        areas = regions.take(near).coverage(grid)
        met = np.diff(areas.indptr) > 0
        cells = np.unique(areas.indices)
        if len(cells):
            yield near[met], areas[met][:, cells], _features(slide, box)[cells]


def _features(slide: Slide, box: Box) -> NDArray[np.float32]:
    """Give the features of all super-pixels of a tile, row by row."""
    import torch
    import torch.nn.functional as F

    from pixnet.network.encoders import as_image

    rgb, _ = slide.read_box(box.grown(_HALO), _UM_PER_PX)
    rows, cols, halo = box.height // _SIDE, box.width // _SIDE, _HALO // _SIDE
    with torch.inference_mode():
        levels = []
        for level in frozen_encoder()(as_image(rgb)[None]):
            size = (rows + 2 * halo, cols + 2 * halo)
            finer = level.shape[2] > size[0]
            level = F.adaptive_avg_pool2d(level, size) if finer else F.interpolate(level, size, mode="bilinear")
            levels.append(level[0, :, halo : halo + rows, halo : halo + cols].flatten(1).T.numpy())
    core = rgb[_HALO : _HALO + box.height, _HALO : _HALO + box.width]
    blocks = core.reshape(rows, _SIDE, cols, _SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(rows * cols, -1, 3)
    colour = colour_channels(blocks)
    return np.concatenate([*levels, colour.mean(axis=1), colour.std(axis=1)], axis=1)
